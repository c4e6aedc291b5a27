# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The dial: set by hand, set by the battery, and who wins."""

import math
import shutil

import messages
import pytest
from sensor_msgs.msg import BatteryState, Image

from vpr_msgs.msg import Keyframe
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import ModelConfig, find_model
from vpr_ros.export.write import write_levels

MEDIUM, LOW = Encoder(find_model(ModelConfig().model)).contract.levels


def test_sparsity_changes_take_effect_while_frames_flow(robot, picture):
    robot.start("encoder", gate__change=0.0, gate__interval_s=0.0)
    keyframes = robot.listen(Keyframe, "keyframes")
    camera = robot.publisher(Image, "image")

    def drive(number):
        camera.publish(messages.raw(picture(number), robot.stamp()))
        count = len(keyframes)
        robot.wait(lambda: len(keyframes) > count, "the next keyframe")
        return keyframes[-1]

    assert drive(1).sparsity == 0.0
    assert robot.set("encoder", "sparsity", 0.4).successful
    sparse = drive(1)
    assert sparse.sparsity == pytest.approx(0.4)
    assert robot.set("encoder", "sparsity", 0).successful, "people type 0 for 0.0"
    dense = drive(1)
    assert dense.sparsity == 0.0 and list(dense.descriptor) != list(sparse.descriptor)


@pytest.mark.parametrize("value", [0.9, 1.0, -0.1, math.nan])
def test_sparsity_out_of_range_is_refused_with_the_range(robot, value):
    robot.start("encoder")
    result = robot.set("encoder", "sparsity", value)
    assert not result.successful
    assert "out of range" in result.reason and "0.75" in result.reason
    assert robot.get("encoder", "sparsity") == 0.0


@pytest.mark.parametrize(
    ("node", "name", "value", "words"),
    [
        ("encoder", "threads", 3, "read-only"),
        ("encoder", "gate.distance_m", -1.0, "out of range"),
        ("database", "loop.temporal_matches", 50, "temporal_window"),
        ("governor", "mode", "sometimes", "one of auto, manual"),
    ],
)
def test_other_parameters_are_checked_too(robot, node, name, value, words):
    robot.start(node)
    before = robot.get(node, name)
    result = robot.set(node, name, value)
    assert not result.successful and words in result.reason
    assert robot.get(node, name) == before


def report(robot, battery, percentage, sparsity, **fields):
    """Say the charge, as batteries do, again and again until the encoder has the sparsity.

    The topic is best effort: a single message may be lost, all the more just after discovery.
    """

    def followed():
        battery.publish(messages.battery(percentage, robot.stamp(), **fields))
        return robot.get("encoder", "sparsity") == sparsity

    robot.wait(followed, f"sparsity {sparsity}")


def test_the_battery_sets_the_sparsity_until_a_person_does(robot):
    robot.start("encoder")
    robot.start("governor", battery__time_constant_s=0.0)
    battery = robot.publisher(BatteryState, "battery_state")

    def charge(percentage, sparsity, **fields):
        report(robot, battery, percentage, sparsity, **fields)

    charge(0.9, 0.0)
    charge(0.45, MEDIUM)
    charge(0.1, LOW)
    charge(0.1, 0.0, power_supply_status=BatteryState.POWER_SUPPLY_STATUS_CHARGING)
    charge(0.1, LOW)
    assert robot.get("governor", "mode") == "auto"

    assert robot.set("encoder", "sparsity", 0.25).successful
    robot.wait(lambda: robot.get("governor", "mode") == "manual", "the governor to yield")
    battery.publish(messages.battery(0.9, robot.stamp()))
    robot.spin(1.5)
    assert robot.get("encoder", "sparsity") == 0.25

    assert robot.set("governor", "mode", "auto").successful
    robot.wait(lambda: robot.get("encoder", "sparsity") == 0.0, "the governor to take over")


def test_a_restarted_encoder_is_governed_again(robot):
    robot.start("encoder")
    robot.start("governor", battery__time_constant_s=0.0)
    battery = robot.publisher(BatteryState, "battery_state")
    report(robot, battery, 0.1, LOW)
    robot.kill("encoder")
    robot.start("encoder")
    robot.wait(lambda: robot.get("encoder", "sparsity") == LOW, "the low sparsity again")
    assert robot.get("governor", "mode") == "auto"


@pytest.mark.parametrize(
    ("percentage", "fields", "words"),
    [
        (0.0, {}, "waiting"),
        (-5.0, {}, "-5 is outside"),
        (math.nan, {"voltage": 12.0}, "voltage_empty"),
        (math.nan, {"voltage": math.nan}, "neither percentage nor voltage"),
        (0.1, {"present": False}, "not present"),
    ],
)
def test_an_unusable_battery_leaves_the_sparsity_alone(robot, percentage, fields, words):
    robot.start("encoder", sparsity=0.2)
    robot.start("governor")
    battery = robot.publisher(BatteryState, "battery_state")
    for _ in range(3):
        battery.publish(messages.battery(percentage, robot.stamp(), **fields))
        robot.spin(0.1)
    robot.wait(lambda: words in robot.status["governor"]["reason"], words)
    assert robot.get("encoder", "sparsity") == 0.2


def test_another_model_brings_its_own_levels(robot, tmp_path):
    other = tmp_path / "other.onnx"
    shutil.copy(find_model(ModelConfig().model), other)
    write_levels(other, (0.15, 0.3))
    robot.start("encoder")
    robot.start("governor", battery__time_constant_s=0.0)
    battery = robot.publisher(BatteryState, "battery_state")
    report(robot, battery, 0.1, LOW)
    assert robot.set("encoder", "model", str(other)).successful
    report(robot, battery, 0.1, 0.3)
    assert robot.set("governor", "battery.sparsity_low", 0.35).successful
    report(robot, battery, 0.1, 0.35)
    assert robot.get("governor", "mode") == "auto"
