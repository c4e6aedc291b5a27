# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Odometry and calibration: both are optional, but what is sent and cannot be used is said."""

from __future__ import annotations

import threading
import time

from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from vpr_ros.core.camera_model import CameraModel, is_rectified
from vpr_ros.core.errors import CameraError
from vpr_ros.core.keyframe import MAX_TEXT
from vpr_ros.core.pose import Pose, PoseBuffer
from vpr_ros.nodes import conversions
from vpr_ros.nodes.guarded_node import GuardedNode
from vpr_ros.nodes.image_input import ImageInput
from vpr_ros.nodes.notices import PATIENCE_S, Notices

SILENT_S = 10.0  # without a message, what was wrong with them is over
INPUTS = {"odom": Odometry, "camera_info": CameraInfo}


class RobotInputs:
    """Where the robot is, and what its camera is like."""

    def __init__(self, node: GuardedNode, notices: Notices, images: ImageInput) -> None:
        """Subscribe to both."""
        self.poses = PoseBuffer()
        self._lock = threading.Lock()  # of the poses, which the encoding thread asks for
        self.camera: CameraModel | None = None
        self._node = node
        self._notices = notices
        self._images = images
        self._info: tuple[CameraInfo, bool] | None = None  # and whether images are rectified
        self._lasting: dict[str, float] = {}  # since when, monotonic [s]
        for name, callback in (("odom", self._on_odometry), ("camera_info", self._on_info)):
            node.create_subscription(
                INPUTS[name],
                name,
                callback,
                qos_profile_sensor_data,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )

    def pose_at(self, stamp_ns: int) -> Pose | None:
        """The pose at the stamp of an image; says so if there has been none for some time."""
        with self._lock:
            pose = self.poses.at(stamp_ns)
            reason = "" if pose is not None else self.poses.why_none(stamp_ns)
        self._say("odometry", f"Odometry is not used: {reason}." if reason else "")
        self._check_clock("The camera", stamp_ns)
        return pose

    def _on_odometry(self, message: Odometry) -> None:
        jumps, frame = self.poses.jumps, self.poses.frame
        stamp_ns = conversions.stamp_ns(message.header.stamp)
        pose = conversions.to_pose(message.pose.pose)
        self._check_clock("Odometry", stamp_ns)
        with self._lock:
            self.poses.add(stamp_ns, pose, message.header.frame_id[:MAX_TEXT])
        if self.poses.jumps > jumps:
            self._node.problems.add(
                "Odometry went on from another place, as if it had been reset. Loops across this "
                "moment are judged by wrong distances.",
                kind="odometry jump",
            )
        if frame and self.poses.frame != frame:
            self._node.problems.add(
                f"Odometry's frame is '{self.poses.frame}' now and was '{frame}' before. If two "
                "nodes publish it, choose one: launch argument odom:=...",
                kind="odometry frame",
            )

    def _check_clock(self, what: str, stamp_ns: int) -> None:
        """Say so if stamps lie in the future: then poses and images do not belong together."""
        now_ns = self._node.get_clock().now().nanoseconds
        ahead_ns = stamp_ns - now_ns if now_ns else 0
        text = (
            f"{what} has stamps {ahead_ns * 1e-9:.3g} s in the future, so poses are taken for "
            "those of other images. Synchronise the clocks of the computers."
        )
        self._say(f"{what} ahead", text if ahead_ns > self.poses.tolerance_ns else "")

    def _say(self, kind: str, text: str) -> None:
        """A notice, once its reason has lasted for some time."""
        if not text:
            self._lasting.pop(kind, None)
            self._notices.say(kind, "")
        elif time.monotonic() - self._lasting.setdefault(kind, time.monotonic()) > PATIENCE_S:
            self._notices.say(kind, text, SILENT_S)

    def _on_info(self, message: CameraInfo) -> None:
        rectified = is_rectified(self._images.topic)
        message.header = type(message.header)()  # the stamp alone makes no other camera
        if self._info == (message, rectified):
            return
        self._info = message, rectified
        try:
            self.camera = conversions.to_camera(message, rectified)
        except CameraError as error:
            self.camera = None
            self._notices.say("calibration", f"No relative poses: {error}")
            return
        self._notices.say("calibration", "")
