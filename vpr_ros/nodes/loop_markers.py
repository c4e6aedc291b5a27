# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loop closures as lines for RViz."""

from __future__ import annotations

from collections import deque

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from visualization_msgs.msg import Marker

from vpr_ros.core.keyframe import Place

CAPACITY = 2000  # lines; RViz slows down far above


class LoopMarkers:
    """One line from each query to its match, where both poses are known in one frame."""

    def __init__(self) -> None:
        """No lines."""
        self._lines: deque[tuple[Point, Point]] = deque(maxlen=CAPACITY)
        self._frame = ""

    def add(self, query: Place, match: Place) -> bool:
        """Add a closure; False if it cannot be drawn."""
        if query.pose is None or match.pose is None or query.pose_frame != match.pose_frame:
            return False
        if query.pose_frame != self._frame:
            self._lines.clear()
            self._frame = query.pose_frame
        ends = (Point(x=p.x, y=p.y, z=p.z) for p in (query.pose, match.pose))
        self._lines.append((next(ends), next(ends)))
        return True

    def message(self, stamp: Time) -> Marker:
        """All lines as one marker."""
        marker = Marker(ns="loop_closures", type=Marker.LINE_LIST, action=Marker.ADD)
        marker.header.frame_id, marker.header.stamp = self._frame, stamp
        marker.pose.orientation.w = 1.0
        marker.scale.x = 0.05  # m
        marker.color.g = marker.color.a = 1.0
        marker.points = [point for line in self._lines for point in line]
        return marker
