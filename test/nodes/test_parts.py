# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The small parts of the nodes, without other processes."""

import dataclasses
import math
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from unittest.mock import MagicMock

import cv2
import messages
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from robot import nodes_here

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.map_file import read_map
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model
from vpr_ros.nodes import (
    database_node,
    diagnostics,
    encoder_node,
    graph_node,
    map_keeper,
    model_choice,
    robot_inputs,
)
from vpr_ros.nodes.diagnostics import Latency, Rate
from vpr_ros.nodes.image_input import LatestImage
from vpr_ros.nodes.notices import Notices


def test_the_latest_image_wins_and_drops_are_counted():
    slot = LatestImage()
    for number in range(5):
        slot.put(number)
    assert slot.take() == 4 and slot.dropped == 4


def test_taking_waits_for_an_image_and_ends_when_closed():
    slot = LatestImage()
    taken = []
    worker = threading.Thread(target=lambda: taken.extend([slot.take(), slot.take()]))
    worker.start()
    slot.put("frame")
    while not taken and slot.dropped == 0 and worker.is_alive() and slot._image is not None:
        time.sleep(0.001)
    slot.close()
    worker.join(5)
    assert not worker.is_alive() and taken == ["frame", None]


def test_latency_percentiles():
    latency = Latency()
    assert all(map(math.isnan, latency.percentiles_ms()))
    for ms in range(1, 101):
        latency.add(ms * 1_000_000)
    assert latency.percentiles_ms() == pytest.approx((50.5, 95.05))


def test_stamps_of_another_clock_give_no_latency():
    latency, now_ns = Latency(), 1_700_000_000 * 10**9
    latency.add_since(now_ns - 20_000_000, now_ns)
    latency.add_since(5, 0)  # simulated time has not begun
    assert latency.percentiles_ms() == pytest.approx((20.0, 20.0))
    for stamp_ns in (now_ns - 3600 * 10**9, now_ns + 3600 * 10**9, 5):
        latency.add_since(now_ns - 20_000_000, now_ns)
        latency.add_since(stamp_ns, now_ns)
        assert all(map(math.isnan, latency.percentiles_ms()))


def test_rate_counts_the_last_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rate = Rate(window_s=5.0)
    for _ in range(10):
        rate.tick()
        now[0] += 0.5
    assert rate.per_second() == pytest.approx(2.0) and rate.total == 10
    now[0] += 60
    assert rate.per_second() == 0.0


def test_a_complaint_about_messages_ends_when_they_cease(monkeypatch):
    now, logged = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    logger = types.SimpleNamespace(warning=logged.append)
    notices = Notices(types.SimpleNamespace(get_logger=lambda: logger))
    notices.say("model", "no model")
    for _ in range(3):  # a driver that sends every 40 s
        now[0] += 40
        notices.say("battery", "no charge", 60.0)
        assert notices.current == "no model no charge"
    now[0] += 61
    assert notices.current == "no model" and notices.about("battery") == ""
    notices.say("battery", "no charge", 60.0)
    assert "no charge" in notices.current and logged.count("no charge") == 3
    notices.say("battery", "")
    notices.say("model", "")
    assert notices.current == ""
    logged.clear()
    for _ in range(50):  # one that comes and goes, ten times a second
        notices.say("camera", "wrong size")
        notices.say("camera", "")
        now[0] += 0.1
    assert logged == ["wrong size"]
    notices.say("camera", "wrong size")
    assert len(logged) == 2


class SlowEncoder:
    """A model named by its path that marks its descriptors, and stops while it encodes."""

    started, go_on = threading.Event(), threading.Event()
    real = Encoder(find_model(DEFAULT_MODEL)).contract

    def __init__(self, config):
        path = Path(config.model)
        self.path, self.threads, self.file = path, config.threads, ()
        self.operators = self.provider = "none"
        self.digest, self.remark = f"weights of {path}", ""
        self.contract = dataclasses.replace(self.real, name=str(path))

    def check_sparsity(self, sparsity):
        pass

    def encode(self, image, sparsity):
        self.started.set()
        assert self.go_on.wait(10)
        return np.full(2, len(str(self.path)), np.float32)


def test_a_model_change_waits_for_the_frame_being_encoded(monkeypatch):
    monkeypatch.setattr(model_choice, "open_encoder", SlowEncoder)
    monkeypatch.setattr(model_choice, "find_model", Path)
    monkeypatch.setattr(model_choice, "try_model", lambda *_: None)
    with nodes_here():
        node = encoder_node.EncoderNode()
        published = []
        monkeypatch.setattr(node._publisher, "publish", published.append)
        pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
        image = messages.raw(pixels, Time(sec=1))
        node._images.put(image)
        assert SlowEncoder.started.wait(10)
        threading.Timer(0.3, SlowEncoder.go_on.set).start()
        (result,) = node.set_parameters([Parameter("model", value="other")])
        assert result.successful and SlowEncoder.go_on.is_set()
        node.destroy_node()
    (keyframe,) = published
    assert keyframe.model == DEFAULT_MODEL
    assert keyframe.model_digest == f"weights of {DEFAULT_MODEL}"
    assert list(keyframe.descriptor) == [len(DEFAULT_MODEL)] * 2


def test_a_model_that_hangs_is_told(monkeypatch):
    now, go_on = [100.0], threading.Event()
    with nodes_here():
        node = encoder_node.EncoderNode()

        def process(*_):
            assert go_on.wait(30)

        monkeypatch.setattr(node._frontend, "process", process)
        monkeypatch.setattr(diagnostics.time, "monotonic", lambda: now[0])
        picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
        node._input.transport = "raw"
        for number in range(2):
            node._input._receive(messages.raw(picture, Time(sec=1 + number)))
            while not node._rate.total:
                time.sleep(0.01)
        assert node._report()[0] == diagnostics.OK
        now[0] += 6.0
        level, text, _ = node._report()
        assert level == diagnostics.WARN and "hangs" in text
        go_on.set()
        while node._images._image is not None:
            time.sleep(0.01)
        assert node._report()[0] == diagnostics.OK
        node.destroy_node()


def test_a_save_that_does_not_end_is_told(monkeypatch, tmp_path):
    """As on a network folder that is gone."""
    pytest.importorskip("gtsam")
    go_on, fsync = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: go_on.wait(30) and fsync(file))
    monkeypatch.setattr(map_keeper, "SLOW_S", 0.2)
    with nodes_here(f"map:={tmp_path}/a.vprmap", "map_save_interval_s:=0.01"):
        database, graph = database_node.DatabaseNode(), graph_node.GraphNode()
        keyframe = messages.keyframe(1, Time(sec=1))
        keyframe.has_pose = True
        database._on_keyframe(keyframe)
        graph._on_keyframe(keyframe)
        assert [n._report()[0] for n in (database, graph)] == [diagnostics.OK] * 2
        executor = SingleThreadedExecutor()
        executor.add_node(database)
        while database._maps._saving == math.inf:
            executor.spin_once(0.1)
        saving = threading.Thread(target=graph._save)
        saving.start()
        time.sleep(0.4)
        for node, name in ((database, "a.vprmap"), (graph, "a.vprgraph")):
            level, text, _ = node._report()
            assert level == diagnostics.WARN and f"{tmp_path}/{name} has taken" in text
        go_on.set()
        saving.join()
        while database._maps._saving < math.inf:
            executor.spin_once(0.1)
        assert [n._report()[0] for n in (database, graph)] == [diagnostics.OK] * 2
        for node in (database, graph):
            node.finish()
            node.destroy_node()


def test_odometry_that_comes_while_a_pose_is_looked_up_waits():
    node = MagicMock()
    node.get_clock().now().nanoseconds = 0
    inputs = robot_inputs.RobotInputs(node, MagicMock(), None)
    for x in (0, 1):
        inputs._on_odometry(messages.odometry(x, Time(nanosec=x * 10**8)))
    reset = messages.odometry(9, Time(sec=5))
    reset.header.frame_id = "another"
    adding = threading.Thread(target=inputs._on_odometry, args=(reset,))
    look_up = inputs.poses.at
    inputs.poses.at = lambda ns: (adding.start(), adding.join(0.3), look_up(ns))[-1]
    assert inputs.pose_at(5 * 10**7).x == 0.5
    adding.join()
    assert inputs.poses.frame == "another"


def test_parameters_whose_file_or_model_is_amiss_do_not_hold_up_others(tmp_path):
    mask, halves = tmp_path / "mask.png", np.full((2, 1), 255, np.uint8)
    with nodes_here("model:=efficientvpr-s", "sparsity:=0.4", "view.mask:=0.25"):
        node = encoder_node.EncoderNode()

        def set_to(name, value):
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert result.successful, result.reason
            return node._frontend._mask.visible(4, 1).sum()

        assert node._frontend is None and "[0, 0]" in node._no_model  # it is fixed
        assert set_to("sparsity", 0.0) == 3
        for shown in (4, 2):
            cv2.imwrite(str(mask), halves)
            assert set_to("view.mask", str(mask)) == shown
            halves[1] = 0
        mask.unlink()
        assert set_to("gate.distance_m", 1) == 2 and set_to("view.mask", 0.5) == 2
        node.destroy_node()


def test_a_new_map_is_that_of_the_model_with_most_keyframes(tmp_path):
    with nodes_here("map:=a", f"map_folder:={tmp_path}", "map_mismatch:=new"):
        node = database_node.DatabaseNode()
        for number in range(10):  # the last two are another model's
            model = {"model": "other"} if number > 7 else {}
            node._on_keyframe(messages.keyframe(number, Time(sec=number), **model))
        node.finish()
        assert read_map(tmp_path / "a.vprmap").model == "m"
        node.destroy_node()


def test_a_process_ends_even_while_its_interpreter_is_held():
    """As by rclpy while Fast DDS hangs: PyDLL calls with Python's lock held."""
    code = "import ctypes; from vpr_ros.nodes.start import exit_after; exit_after(0.1, 3); "
    code += "ctypes.PyDLL(None).sleep(60)"
    ended = subprocess.run([sys.executable, "-c", code], timeout=50, check=False)
    assert ended.returncode == 3
