# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The path that is serialized without rclpy is what rclpy makes of the same message."""

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message, serialize_message

from vpr_ros.core.pose import Pose
from vpr_ros.nodes.conversions import from_pose, to_time
from vpr_ros.nodes.graph_view import path_bytes


@pytest.mark.parametrize(
    "frame", ["map", "", "maps", "robot_1/map", *("m" * n for n in range(5, 9))]
)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_path_as_rclpy_serializes_it(frame, count):
    poses = np.random.default_rng(0).normal(size=(count, 7))
    stamps_ns = np.array([1_700_000_000_123_456_789 + i for i in range(count)], np.int64)
    path = Path()
    path.header.stamp, path.header.frame_id = to_time(5_000_000_006), frame
    for stamp_ns, pose in zip(stamps_ns.tolist(), poses.tolist(), strict=True):
        stamped = PoseStamped(pose=from_pose(Pose(*pose)))
        stamped.header.stamp, stamped.header.frame_id = to_time(stamp_ns), frame
        path.poses.append(stamped)
    made = path_bytes(path.header.stamp, frame, stamps_ns, poses)
    assert deserialize_message(made, Path) == path
    assert len(made) == len(serialize_message(path))  # whose padding is not always zeros
