# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parameter `sparsity`: set by hand, set by the battery, and who wins."""

import dataclasses
import math

import messages
import onnx
import pytest
from rcl_interfaces.msg import ParameterEvent
from rclpy.parameter import Parameter
from sensor_msgs.msg import BatteryState, Image

from vpr_msgs.msg import Keyframe
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import ModelConfig, find_model

MODEL = find_model(ModelConfig().model)
CONTRACT = Encoder(MODEL).contract
MEDIUM, LOW = CONTRACT.levels
OK, WARN = b"\x00", b"\x01"


def report(robot, battery, percentage, sparsity, **fields):
    """Report a charge, as batteries do, again and again until the encoder has the sparsity.

    The topic is best effort: a single message may be lost, especially just after discovery.
    """

    def followed():
        battery.publish(messages.battery(percentage, robot.stamp(), **fields))
        return robot.get("encoder", "sparsity") == sparsity

    robot.wait(followed, f"sparsity {sparsity}")


@pytest.fixture
def battery(robot):
    """A publisher of battery states, subscribed to by a running encoder."""
    robot.start("encoder", battery__time_constant_s=0.0)
    return robot.publisher(BatteryState, "battery_state")


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
    assert "out of range" in result.reason and f"{CONTRACT.sparsity_max:g}" in result.reason
    assert robot.get("encoder", "sparsity") == 0.0
    assert robot.get("encoder", "sparsity_mode") == "auto"


@pytest.mark.parametrize(
    ("node", "name", "value", "words"),
    [
        ("encoder", "threads", 3, "read-only"),
        ("encoder", "gate.distance_m", -1.0, "out of range"),
        ("encoder", "sparsity_mode", "sometimes", "one of auto, manual"),
        ("encoder", "battery.charge_low", 0.6, "above battery.charge_medium"),
        ("database", "loop.precision", 1.5, "out of range"),
    ],
)
def test_other_parameters_are_checked_too(robot, node, name, value, words):
    robot.start(node)
    before = robot.get(node, name)
    result = robot.set(node, name, value)
    assert not result.successful and words in result.reason
    assert robot.get(node, name) == before


def test_the_battery_sets_the_sparsity_until_a_person_does(robot, battery):
    report(robot, battery, 0.9, 0.0)
    report(robot, battery, 0.45, MEDIUM)
    report(robot, battery, 0.1, LOW)
    charging = BatteryState.POWER_SUPPLY_STATUS_CHARGING
    report(robot, battery, 0.1, 0.0, power_supply_status=charging)
    report(robot, battery, 0.1, LOW)
    assert robot.get("encoder", "sparsity_mode") == "auto"

    assert robot.set("encoder", "sparsity", 0.25).successful
    assert robot.get("encoder", "sparsity_mode") == "manual"
    for _ in range(10):
        battery.publish(messages.battery(0.9, robot.stamp()))
        robot.spin(0.1)
    assert robot.get("encoder", "sparsity") == 0.25

    assert robot.set("encoder", "sparsity_mode", "auto").successful
    assert robot.get("encoder", "sparsity") == 0.0, "what the battery asked for last"


def test_a_set_to_the_value_in_force_makes_it_stay_too(robot, battery):
    report(robot, battery, 0.1, LOW)
    assert robot.set("encoder", "sparsity", LOW).successful
    assert robot.get("encoder", "sparsity_mode") == "manual"


def test_every_change_is_published_once(robot, battery):
    events = robot.listen(ParameterEvent, "/parameter_events", 1000)

    def changes():
        return [
            {p.name: p.value.double_value or p.value.string_value for p in e.changed_parameters}
            for e in events
            if e.node == "/vpr/encoder" and e.changed_parameters
        ]

    report(robot, battery, 0.1, LOW)
    report(robot, battery, 0.45, MEDIUM)
    robot.set("encoder", "sparsity", 0.25)
    robot.set("encoder", "sparsity", 0.3)
    robot.set("encoder", "sparsity_mode", "auto")
    robot.wait(lambda: len(changes()) >= 6, "all events")
    robot.spin(0.3)
    assert changes() == [
        {"sparsity": LOW},
        {"sparsity": MEDIUM},
        {"sparsity": 0.25, "sparsity_mode": "manual"},
        {"sparsity": 0.3, "sparsity_mode": "manual"},
        {"sparsity_mode": "auto"},
        {"sparsity": MEDIUM},
    ]


def test_a_person_wins_against_a_battery_at_the_same_moment(robot, battery):
    charges = {LOW: 0.1, 0.0: 0.9}
    client = robot._parameters("encoder")
    for number in range(20):
        current = robot.get("encoder", "sparsity")
        wanted = LOW if current != LOW else 0.0  # the battery is about to ask for this
        by_hand = 0.25 if number % 4 < 2 else wanted  # and the person perhaps for the same
        state = messages.battery(charges[wanted], robot.stamp())
        parameter = Parameter("sparsity", value=by_hand)
        if number % 2:
            battery.publish(state)
            answer = client.set_parameters([parameter])
        else:
            answer = client.set_parameters([parameter])
            battery.publish(state)
        (result,) = robot.result(answer).results
        assert result.successful
        for _ in range(3):
            battery.publish(state)
            robot.spin(0.02)
        assert robot.get("encoder", "sparsity") == by_hand
        assert robot.get("encoder", "sparsity_mode") == "manual"
        robot.set("encoder", "sparsity_mode", "auto")
        report(robot, battery, charges[wanted], wanted)


def test_sparsity_and_mode_can_be_set_together(robot, battery):
    """As `ros2 param load` does with a dumped file: the mode given wins."""
    report(robot, battery, 0.1, LOW)
    changes = [Parameter("sparsity", value=0.3), Parameter("sparsity_mode", value="auto")]
    client = robot._parameters("encoder")
    assert robot.result(client.set_parameters_atomically(changes)).result.successful
    assert robot.get("encoder", "sparsity") == LOW
    assert all(r.successful for r in robot.result(client.set_parameters(changes)).results)
    assert robot.get("encoder", "sparsity") == LOW
    assert robot.get("encoder", "sparsity_mode") == "auto"


def test_a_restarted_encoder_follows_the_battery_again(robot, battery):
    report(robot, battery, 0.1, LOW)
    robot.kill("encoder")
    robot.start("encoder")
    report(robot, battery, 0.1, LOW)
    assert robot.get("encoder", "sparsity_mode") == "auto"


def test_a_value_given_at_the_start_holds_until_the_battery_is_known(robot):
    robot.start("encoder", sparsity=0.2)
    assert robot.get("encoder", "sparsity") == 0.2
    report(robot, robot.publisher(BatteryState, "battery_state"), 0.1, LOW)


def test_manual_from_the_start_stays(robot):
    robot.start("encoder", sparsity=0.2, sparsity_mode="manual")
    battery = robot.publisher(BatteryState, "battery_state")
    for _ in range(5):
        battery.publish(messages.battery(0.1, robot.stamp()))
        robot.spin(0.1)
    robot.wait(lambda: "10%" in robot.status["encoder"]["battery"], "the battery")
    assert robot.get("encoder", "sparsity") == 0.2


@pytest.mark.parametrize(
    ("percentage", "fields", "words", "level"),
    [
        (0.0, {}, "waiting", OK),
        (-5.0, {}, "-5 is outside", WARN),
        (math.nan, {"voltage": 12.0}, "battery.voltage_empty", WARN),
        (math.nan, {"voltage": math.nan}, "neither percentage nor voltage", WARN),
        (0.1, {"present": False}, "battery.trust_present", OK),
    ],
)
def test_an_unusable_battery_leaves_the_sparsity_alone(
    robot, picture, percentage, fields, words, level
):
    robot.start("encoder", sparsity=0.2)
    battery = robot.publisher(BatteryState, "battery_state")
    camera = robot.publisher(Image, "image")

    def reported():
        battery.publish(messages.battery(percentage, robot.stamp(), **fields))
        camera.publish(messages.raw(picture(1), robot.stamp()))
        status = robot.status["encoder"]
        return words in status["message"] and status["level"] == level

    robot.wait(reported, f"{words} at level {level}")
    assert robot.get("encoder", "sparsity") == 0.2


def test_a_robot_without_a_battery_is_not_warned_of_it(robot, picture):
    robot.start("encoder")
    camera = robot.publisher(Image, "image")

    def reported():
        camera.publish(messages.raw(picture(1), robot.stamp()))
        return robot.status["encoder"]["level"] == OK

    robot.wait(reported, "a status without a warning")
    assert robot.status["encoder"]["battery"] == "no battery"


@pytest.fixture
def model(tmp_path):
    """model(**changes): a copy of the default model with another contract."""

    def make(**changes):
        copy = onnx.load(MODEL)
        contract = dataclasses.replace(CONTRACT, **changes)
        onnx.helper.set_model_props(copy, contract.to_metadata())
        path = tmp_path / "other.onnx"
        onnx.save(copy, path)
        return str(path)

    return make


def test_another_model_brings_its_own_levels(robot, battery, model):
    report(robot, battery, 0.1, LOW)
    assert robot.set("encoder", "model", model(levels=(0.15, 0.3))).successful
    assert robot.get("encoder", "sparsity") == 0.3
    assert robot.set("encoder", "battery.sparsity_low", 0.35).successful
    assert robot.get("encoder", "sparsity") == 0.35
    assert robot.get("encoder", "sparsity_mode") == "auto"


def test_another_model_may_have_a_smaller_range_than_the_battery_has_set(robot, battery, model):
    report(robot, battery, 0.1, LOW)
    small = LOW / 2
    other = model(sparsity_max=small, levels=(0.0, small))
    assert robot.set("encoder", "model", other).successful
    assert robot.get("encoder", "sparsity") == pytest.approx(small)
    assert robot.set("encoder", "model", ModelConfig().model).successful
    assert robot.get("encoder", "sparsity") == LOW
    assert robot.set("encoder", "sparsity", LOW).successful  # by hand it is a reason to refuse
    refused = robot.set("encoder", "model", other)
    assert not refused.successful and "out of range for model" in refused.reason
    assert robot.get("encoder", "sparsity") == LOW
