# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes wrong closures during the drive: `python -m demo.inject COUNT SEED`."""

from __future__ import annotations

import sys

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from demo.drive import ODOM_HZ, drive
from demo.topics import CLOSURES, INJECTED, KEYFRAMES
from vpr_msgs.msg import Keyframe, LoopClosure

APART_M = 8.0


class Injector(Node):
    """Says of keyframes on the second lap that they show places which are far away."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__("injector")
        self._truth = drive()
        self._rng = np.random.default_rng(seed)
        times = self._rng.uniform(0.5, 0.95, count) * self._truth[-1].stamp_s
        self._due = sorted(times)  # seconds into the drive
        self._seen: list[tuple[float, Keyframe]] = []
        self._publisher = self.create_publisher(LoopClosure, CLOSURES, 10)
        self.create_subscription(Keyframe, KEYFRAMES, self._on_keyframe, 50)

    def _on_keyframe(self, message: Keyframe) -> None:
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        message.descriptor, message.features = [], type(message.features)()  # only to save memory
        self._seen.append((stamp_s, message))
        begin_s = self._seen[0][0]  # the drive's first image is its first keyframe
        if not self._due or stamp_s - begin_s < self._due[0]:
            return
        self._due.pop(0)
        poses = [self._truth[round((s - begin_s) * ODOM_HZ)].pose for s, _ in self._seen]
        far = [k for k, pose in enumerate(poses) if pose.distance_m(poses[-1]) > APART_M]
        match = self._seen[int(self._rng.choice(far))][1]
        closure = LoopClosure(header=message.header, query_id=message.id, match_id=match.id)
        closure.header.frame_id = INJECTED
        closure.match_stamp = match.header.stamp
        closure.score, closure.confidence, closure.inliers = 0.9, 0.99, 100
        closure.verification = LoopClosure.VERIFIED
        closure.has_relative_pose = True  # and none turned: a default quaternion has w 1
        self._publisher.publish(closure)


def main() -> None:
    """Run the command."""
    rclpy.init()
    try:
        rclpy.spin(Injector(*map(int, sys.argv[1:])))
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
