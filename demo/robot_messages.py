# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's ROS 2 messages, built from plain values without ROS."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore

from demo.battery_model import CAPACITY_AH, CELLS, Reading
from demo.camera import FOCAL_PX, HEIGHT, WIDTH
from demo.drive import DrivePose

JPEG_QUALITY = 90
IMAGE, INFO = "/camera/image_raw/compressed", "/camera/camera_info"
ODOM, BATTERY = "/odom", "/battery_state"  # the exact pose
WHEELS = "/wheel_odom"  # odometry that drifts, as the nodes get it
TYPES = {
    IMAGE: "sensor_msgs/msg/CompressedImage",
    INFO: "sensor_msgs/msg/CameraInfo",
    ODOM: "nav_msgs/msg/Odometry",
    WHEELS: "nav_msgs/msg/Odometry",
    BATTERY: "sensor_msgs/msg/BatteryState",
}


class Messages:
    """Builds the ROS 2 messages of one drive, without ROS."""

    def __init__(self) -> None:
        self.store = get_typestore(Stores.ROS2_JAZZY)

    def make(self, name: str, **fields: Any) -> Any:
        """A message by its type's full name."""
        return self.store.types[name](**fields)

    def header(self, nanoseconds: int, frame: str) -> Any:
        """std_msgs/Header at a stamp."""
        sec, nanosec = divmod(nanoseconds, 10**9)
        stamp = self.make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def image(self, nanoseconds: int, picture: np.ndarray) -> Any:
        """A JPEG of a BGR picture."""
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        header = self.header(nanoseconds, "camera")
        return self.make(TYPES[IMAGE], header=header, format="jpeg", data=data.ravel())

    def info(self, nanoseconds: int) -> Any:
        """The pinhole camera: square pixels, no distortion."""
        f, cx, cy = FOCAL_PX, WIDTH / 2.0, HEIGHT / 2.0
        roi = self.make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
        )  # fmt: skip
        return self.make(
            TYPES[INFO],
            header=self.header(nanoseconds, "camera"),
            height=HEIGHT,
            width=WIDTH,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=np.array([f, 0, cx, 0, f, cy, 0, 0, 1], dtype=np.float64),
            r=np.eye(3).ravel(),
            p=np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1, 0], dtype=np.float64),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )

    def odometry(self, nanoseconds: int, pose: DrivePose) -> Any:
        """A pose and the twist in the plane."""
        vector, half = "geometry_msgs/msg/Vector3", pose.yaw_rad / 2.0
        place = self.make(
            "geometry_msgs/msg/Pose",
            position=self.make("geometry_msgs/msg/Point", x=pose.x_m, y=pose.y_m, z=0.0),
            orientation=self.make(
                "geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=math.sin(half), w=math.cos(half)
            ),
        )
        twist = self.make(
            "geometry_msgs/msg/Twist",
            linear=self.make(vector, x=pose.speed, y=0.0, z=0.0),
            angular=self.make(vector, x=0.0, y=0.0, z=pose.yaw_rate),
        )
        exact = np.zeros(36)
        return self.make(
            TYPES[ODOM],
            header=self.header(nanoseconds, "odom"),
            child_frame_id="base_link",
            pose=self.make("geometry_msgs/msg/PoseWithCovariance", pose=place, covariance=exact),
            twist=self.make(
                "geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=exact
            ),
        )

    def battery(self, nanoseconds: int, reading: Reading) -> Any:
        """A lithium battery that is discharging; what is not measured is NaN."""
        cells = np.full(CELLS, reading.voltage / CELLS, dtype=np.float32)
        constants: Any = self.store.types[TYPES[BATTERY]]
        return self.make(
            TYPES[BATTERY],
            header=self.header(nanoseconds, "base_link"),
            voltage=reading.voltage,
            temperature=math.nan,
            current=reading.current,
            charge=reading.percentage * CAPACITY_AH,
            capacity=CAPACITY_AH,
            design_capacity=CAPACITY_AH,
            percentage=reading.percentage,
            power_supply_status=constants.POWER_SUPPLY_STATUS_DISCHARGING,
            power_supply_health=constants.POWER_SUPPLY_HEALTH_GOOD,
            power_supply_technology=constants.POWER_SUPPLY_TECHNOLOGY_LION,
            present=True,
            cell_voltage=cells,
            cell_temperature=np.zeros(0, dtype=np.float32),
            location="",
            serial_number="",
        )
