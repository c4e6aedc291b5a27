# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose graph for people: the corrected path, and a line for each closure."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from nav_msgs.msg import Path
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from vpr_ros.mapping.pose_graph import Correction, GraphClosure, GraphKeyframe, poses_now
from vpr_ros.nodes.guarded_node import GuardedNode

GREEN, RED = ColorRGBA(g=0.8, a=1.0), ColorRGBA(r=0.9, a=1.0)
MOST_LINES = 500  # of the newest closures; a line takes 10 us of Python's lock


class GraphView:
    """Publishes a graph."""

    def __init__(self, node: GuardedNode) -> None:
        """Offer the topics."""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._clock = node.get_clock()
        self._path_publisher = node.create_publisher(Path, "path", latched)
        self._marker_publisher = node.create_publisher(MarkerArray, "graph_markers", latched)

    def publish(
        self,
        keyframes: Sequence[GraphKeyframe],
        closures: Sequence[GraphClosure],
        correction: Correction,
        frame: str,
    ) -> None:
        """Publish the poses of this run and the newest closures, in the frame of the map."""
        poses = poses_now(keyframes, correction)
        own = [k for k, at in enumerate(poses[:, 0]) if keyframes[k].trajectory >= 0 and at == at]
        stamps_ns = np.array([keyframes[k].stamp_ns for k in own], np.int64)
        now = self._clock.now().to_msg()
        self._path_publisher.publish(path_bytes(now, frame, stamps_ns, poses[own]))
        lines = Marker(ns="closures", type=Marker.LINE_LIST, id=1)
        lines.header.stamp, lines.header.frame_id = now, frame
        lines.scale.x = 0.05
        lines.pose.orientation.w = 1.0
        judged = list(zip(closures, correction.verdicts[:, 0].tolist(), strict=False))
        for closure, holds in judged[-MOST_LINES:]:
            if holds == holds:
                ends = poses[[closure.query, closure.match], :3].tolist()
                lines.points += [Point(x=x, y=y, z=z) for x, y, z in ends]
                lines.colors += [GREEN if holds else RED] * 2
        if lines.points:
            self._marker_publisher.publish(MarkerArray(markers=[lines]))


def path_bytes(now: Time, frame: str, stamps_ns: np.ndarray, poses: np.ndarray) -> bytes:
    """A serialized nav_msgs/Path of poses (N, 7) with their stamps (N,).

    rclpy takes 25 us a pose and holds Python's lock meanwhile: 0.25 s with 10,000. The layout is
    that of CDR (OMG DDSI-RTPS 2.5, 10.5): little endian, and numbers aligned to their size.
    """
    name = frame.encode() + b"\0"
    text = struct.pack("<I", len(name)) + name
    begin = struct.pack("<iI", now.sec, now.nanosec) + text
    begin += bytes(-len(begin) % 4) + struct.pack("<I", len(poses))
    head = 8 + len(text)
    padded = head + -head % 8
    fields = ("sec", "<i4"), ("nanosec", "<u4"), ("frame", f"S{padded - 8}"), ("pose", "<f8", 7)
    rows = np.zeros(len(poses), np.dtype([*fields]))
    rows["sec"], rows["nanosec"] = np.divmod(stamps_ns, 10**9)
    rows["frame"], rows["pose"] = text, poses
    body = rows.tobytes()
    if len(poses) and len(begin) % 8:  # only the first one does not begin at a multiple of eight
        body = body[:head] + bytes(-(len(begin) + head) % 8) + body[padded:]
    return b"\0\1\0\0" + begin + body
