# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading back the bag of what the nodes published, written here without ROS."""

import math

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from demo.recording import read_recording
from demo.topics import CLOSURES, DIAGNOSTICS, PARAMETERS, QUERIES, typestore

BEGIN, OFFSET = 1_000 * 10**9, 500 * 10**9  # the drive's first stamp; what the player added


class Bag:
    """Builds messages, with stamps in seconds into the drive, and writes them."""

    def __init__(self, writer):
        self.store = typestore()
        self.writer = writer
        self.connections = {}

    def make(self, kind, /, **fields):
        return self.store.types[kind](**fields)

    def stamp(self, second):
        sec, nanosec = divmod(BEGIN + OFFSET + round(second * 1e9), 10**9)
        return self.make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)

    def header(self, second):
        return self.make("std_msgs/msg/Header", stamp=self.stamp(second), frame_id="camera")

    def write(self, topic, second, kind, /, **fields):
        if topic not in self.connections:
            connection = self.writer.add_connection(topic, kind, typestore=self.store)
            self.connections[topic] = connection
        raw = self.store.serialize_cdr(self.make(kind, **fields), kind)
        self.writer.write(self.connections[topic], BEGIN + OFFSET + round(second * 1e9), raw)

    def query(self, second, arrives, reason, candidates=(), query_id=1):
        pose = self.make(
            "geometry_msgs/msg/Pose",
            position=self.make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0),
            orientation=self.make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        )
        found = [
            self.make("vpr_msgs/msg/Candidate", id=7, stamp=self.stamp(when), score=score,
                      has_pose=False, pose=pose, pose_frame="")
            for when, score in candidates
        ]  # fmt: skip
        self.write(
            QUERIES, arrives, "vpr_msgs/msg/Query", header=self.header(second), query_id=query_id,
            reason=reason, message="because", candidates=found, keyframes=3,
        )  # fmt: skip

    def closure(self, second, match, arrives):
        self.write(
            CLOSURES, arrives, "vpr_msgs/msg/LoopClosure", header=self.header(second), query_id=9,
            match_id=1, match_stamp=self.stamp(match), score=0.5, margin=0.1, confidence=math.nan,
            verification=1, inliers=42, has_relative_pose=False,
            rotation=self.make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
            direction=self.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0),
        )  # fmt: skip

    def sparsity(self, second, value, node="/vpr/encoder"):
        empty = {
            "bool_value": False, "integer_value": 0, "string_value": "",
            "byte_array_value": np.zeros(0, np.uint8), "bool_array_value": np.zeros(0, bool),
            "integer_array_value": np.zeros(0, np.int64), "double_array_value": np.zeros(0),
            "string_array_value": [],
        }  # fmt: skip
        kind = "rcl_interfaces/msg/ParameterValue"
        parameter = self.make(
            "rcl_interfaces/msg/Parameter",
            name="sparsity",
            value=self.make(kind, type=3, double_value=value, **empty),
        )
        self.write(
            PARAMETERS, second, "rcl_interfaces/msg/ParameterEvent", stamp=self.stamp(second),
            node=node, new_parameters=[], changed_parameters=[parameter], deleted_parameters=[],
        )  # fmt: skip

    def diagnostics(self, second, node, **values):
        pairs = [
            self.make("diagnostic_msgs/msg/KeyValue", key=k, value=v) for k, v in values.items()
        ]
        status = self.make(
            "diagnostic_msgs/msg/DiagnosticStatus", level=0, name=f"vpr/{node}: vpr",
            message="", hardware_id="", values=pairs,
        )  # fmt: skip
        name = "diagnostic_msgs/msg/DiagnosticArray"
        self.write(DIAGNOSTICS, second, name, header=self.header(second), status=[status])


@pytest.fixture
def recording(tmp_path):
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        bag = Bag(writer)
        bag.diagnostics(0.5, "encoder", sparsity="0.1", memory_mb="240")
        bag.query(1.0, 1.02, reason=1)
        bag.sparsity(5.0, 0.4)
        bag.sparsity(6.0, 0.9, node="/other/encoder")
        bag.closure(20.0, 1.0, arrives=20.03)
        bag.query(20.0, 20.05, reason=0, candidates=[(1.0, 0.5), (2.0, 0.25)])
        bag.query(21.0, 21.0, reason=6, query_id=0)  # answers a person's FindPlace
        bag.diagnostics(22.0, "encoder", sparsity="0.4", memory_mb="250")
    return read_recording(tmp_path / "bag", OFFSET, BEGIN)


def test_answers_are_on_the_clock_of_the_drive(recording):
    first, second = recording.answers
    assert (first.stamp_ns, first.reason, first.match_ns) == (
        BEGIN + 10**9,
        "NO_OLDER_PLACES",
        None,
    )
    assert math.isnan(first.score) and first.latency_ms == pytest.approx(20)
    assert (second.reason, second.score, second.message) == ("ACCEPTED", 0.5, "because")
    assert second.match_ns == BEGIN + 10**9  # the best candidate
    assert second.latency_ms == pytest.approx(50)


def test_closures(recording):
    (closure,) = recording.closures
    assert (closure.stamp_ns, closure.match_ns) == (BEGIN + 20 * 10**9, BEGIN + 10**9)
    assert (closure.score, closure.inliers) == (0.5, 42)
    assert closure.latency_ms == pytest.approx(30)


def test_sparsity_starts_with_the_encoders_own_and_ignores_other_nodes(recording):
    assert recording.sparsity == [(0.0, 0.1), (pytest.approx(5.0), 0.4)]


def test_diagnostics_by_node(recording):
    assert [d["memory_mb"] for d in recording.diagnostics["encoder"]] == ["240", "250"]
