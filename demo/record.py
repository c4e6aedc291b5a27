# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records what the nodes publish: `python -m demo.record OUT_DIR WRONG SEED NODE...`.

Prints READY once each of the nodes has reported, and a node's state whenever it changes. Adds
WRONG closures of its own. Runs until it is interrupted.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import StoragePlugin, Writer

from demo.drive import ODOM_HZ, drive
from demo.topics import (
    CLOSURES,
    DIAGNOSTICS,
    INJECTED,
    KEYFRAMES,
    PUBLISHED,
    READY,
    connections,
    node_of,
)
from vpr_msgs.msg import Keyframe, LoopClosure

APART_M = 8.0


class Recorder(Node):
    """Writes each message with the time of its arrival."""

    def __init__(self, writer: Writer, nodes: list[str], injector: Injector) -> None:
        super().__init__("recorder")
        self._nodes = nodes
        self._said: dict[str, str] = {}
        publisher = self.create_publisher(LoopClosure, CLOSURES, 10)
        for topic, connection in connections(writer, PUBLISHED).items():

            def write(raw: bytes, topic: str = topic, connection: object = connection) -> None:
                writer.write(connection, time.time_ns(), raw)
                if topic == DIAGNOSTICS:
                    self._tell(raw)
                elif topic == KEYFRAMES and injector.due:
                    for closure in injector.closures(deserialize_message(raw, Keyframe)):
                        publisher.publish(closure)

            depth = QoSProfile(depth=1000)
            self.create_subscription(PUBLISHED[topic], topic, write, depth, raw=True)

    def _tell(self, raw: bytes) -> None:
        for status in deserialize_message(raw, DiagnosticArray).status:
            name = node_of(status.name)
            if name not in self._nodes or self._said.get(name) == status.message:
                continue
            before = len(self._said)
            self._said[name] = status.message
            print(f"{name}: {status.message}", flush=True)
            if before < len(self._said) == len(self._nodes):
                print(READY, flush=True)


class Injector:
    """Says of keyframes on the second lap that they show places which are far away."""

    def __init__(self, count: int, seed: int) -> None:
        self._truth = drive()
        self._rng = np.random.default_rng(seed)
        times = self._rng.uniform(0.5, 0.95, count) * self._truth[-1].stamp_s
        self.due = sorted(times)  # seconds into the drive, of what is still to be said
        self._seen: list[tuple[float, Keyframe]] = []

    def closures(self, message: Keyframe) -> list[LoopClosure]:
        """The wrong closure that is due with this keyframe, if one is; not after the last one."""
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        message.descriptor, message.features = [], type(message.features)()  # only to save memory
        self._seen.append((stamp_s, message))
        begin_s = self._seen[0][0]  # the drive's first image is its first keyframe
        if stamp_s - begin_s < self.due[0]:
            return []
        self.due.pop(0)
        poses = [self._truth[round((s - begin_s) * ODOM_HZ)].pose for s, _ in self._seen]
        far = [k for k, pose in enumerate(poses) if pose.distance_m(poses[-1]) > APART_M]
        match = self._seen[int(self._rng.choice(far))][1]
        closure = LoopClosure(header=message.header, query_id=message.id, match_id=match.id)
        closure.header.frame_id = INJECTED
        closure.match_stamp = match.header.stamp
        closure.score, closure.confidence, closure.inliers = 0.9, 0.99, 100
        closure.verification = LoopClosure.VERIFIED
        closure.has_relative_pose = True  # and none turned: a default quaternion has w 1
        return [closure]


def main() -> None:
    """Run the command."""
    rclpy.init()
    with (
        Writer(Path(sys.argv[1]), version=9, storage_plugin=StoragePlugin.MCAP) as writer,
        contextlib.suppress(KeyboardInterrupt, ExternalShutdownException),
    ):
        node = Recorder(writer, sys.argv[4:], Injector(int(sys.argv[2]), int(sys.argv[3])))
        while rclpy.ok():  # rclpy.spin() may miss the signal: see examples/print_closures.py
            rclpy.spin_once(node, timeout_sec=1.0)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
