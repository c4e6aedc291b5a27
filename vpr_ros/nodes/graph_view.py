# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose graph for people: the corrected path, and a line for each closure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from vpr_ros.mapping.graph_correction import Correction, poses_now
from vpr_ros.mapping.pose_graph import GraphClosure, GraphKeyframe, to_pose
from vpr_ros.nodes import conversions
from vpr_ros.nodes.guarded_node import GuardedNode

GREEN, RED = ColorRGBA(g=0.8, a=1.0), ColorRGBA(r=0.9, a=1.0)


class GraphView:
    """Publishes a graph; what has not moved since the last time is not made again."""

    def __init__(self, node: GuardedNode) -> None:
        """Offer the topics."""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._clock = node.get_clock()
        self._path_publisher = node.create_publisher(Path, "path", latched)
        self._marker_publisher = node.create_publisher(MarkerArray, "graph_markers", latched)
        self._made: dict[int, tuple[Any, PoseStamped]] = {}  # by keyframe, and of which pose

    def publish(
        self,
        keyframes: Sequence[GraphKeyframe],
        closures: Sequence[GraphClosure],
        correction: Correction,
        frame: str,
    ) -> None:
        """Publish the poses of this run and the newest closures, in the frame of the map."""
        poses = poses_now(keyframes, correction)
        before, self._made = self._made, {}
        for keyframe, pose in zip(keyframes, poses, strict=True):
            if pose is None or keyframe.trajectory < 0:
                continue
            of, stamped = before.get(keyframe.id, (None, None))
            if of is not pose or stamped is None:
                stamped = PoseStamped(pose=conversions.from_pose(to_pose(pose)))
                stamped.header.stamp = conversions.to_time(keyframe.stamp_ns)
            stamped.header.frame_id = frame
            self._made[keyframe.id] = pose, stamped
        path = Path(poses=[stamped for _, stamped in self._made.values()])
        path.header.stamp, path.header.frame_id = self._clock.now().to_msg(), frame
        self._path_publisher.publish(path)
        lines = Marker(header=path.header, ns="closures", type=Marker.LINE_LIST, id=1)
        lines.scale.x = 0.05
        lines.pose.orientation.w = 1.0
        judged = list(zip(closures, correction.verdicts, strict=False))
        for closure, verdict in judged[-conversions.MAX_MARKER_LINES :]:
            ends = poses[closure.query], poses[closure.match]
            if verdict is not None and None not in ends:
                lines.points += [_point(pose) for pose in ends]
                lines.colors += [GREEN if verdict.accepted else RED] * 2
        if lines.points:
            self._marker_publisher.publish(MarkerArray(markers=[lines]))


def _point(pose: Any) -> Point:
    x, y, z = map(float, np.asarray(pose.translation()))
    return Point(x=x, y=y, z=z)
