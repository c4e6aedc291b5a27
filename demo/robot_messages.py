# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo's robot sends: pictures, poses, and a battery that runs down in one drive."""

from __future__ import annotations

import math

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from sensor_msgs.msg import BatteryState, CameraInfo, CompressedImage
from std_msgs.msg import Header

from demo.camera import FOCAL_PX, HEIGHT, WIDTH
from demo.drive import DrivePose

EPOCH_S = 1_780_000_000  # stamp of the first message; fixed, so that every bag is the same
JPEG_QUALITY = 90
BATTERY_HZ = 2
BOOT_MESSAGES = 2  # drivers report zeros until they have a first reading
FULL, LEFT = 1.0, 0.1  # charge at the start and at the end
CELLS, EMPTY_V, SPAN_V = 4, 3.3, 0.85  # open-circuit volts of a cell: EMPTY_V + SPAN_V * charge
RESISTANCE_OHM = 0.06
IDLE_A, DRIVE_A = 2.0, 4.0  # amperes when standing, and in addition per m/s
CAPACITY_AH = 5.2


def header(stamp_s: float, frame: str) -> Header:
    """Of a message so many seconds into the drive."""
    sec, nanosec = divmod(EPOCH_S * 10**9 + round(stamp_s * 1e9), 10**9)
    return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame)


def image(stamp_s: float, picture: np.ndarray) -> CompressedImage:
    """A JPEG of a BGR picture."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return CompressedImage(header=header(stamp_s, "camera"), format="jpeg", data=data.tobytes())


def camera_info(stamp_s: float) -> CameraInfo:
    """The pinhole camera: square pixels, no distortion."""
    f, cx, cy = FOCAL_PX, WIDTH / 2.0, HEIGHT / 2.0
    return CameraInfo(
        header=header(stamp_s, "camera"),
        height=HEIGHT,
        width=WIDTH,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0],
        r=np.eye(3).ravel(),
        p=[f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def odometry(pose: DrivePose) -> Odometry:
    """A pose and the twist in the plane."""
    message = Odometry(header=header(pose.stamp_s, "odom"), child_frame_id="base_link")
    place, twist = message.pose.pose, message.twist.twist
    place.position.x, place.position.y = pose.x_m, pose.y_m
    place.orientation.z = math.sin(pose.yaw_rad / 2.0)
    place.orientation.w = math.cos(pose.yaw_rad / 2.0)
    twist.linear.x, twist.angular.z = pose.speed, pose.yaw_rate
    return message


def battery(times: np.ndarray, speeds: np.ndarray, seed: int) -> list[BatteryState]:
    """The driver's reports over a drive at rising `times` (N,) s and `speeds` (N,) m/s.

    Hours of driving are compressed into one drive: the charge is scaled to end at LEFT.
    """
    rng = np.random.default_rng(seed)
    current = IDLE_A + DRIVE_A * np.abs(speeds)
    drawn = np.concatenate([[0.0], np.cumsum(np.diff(times) * current[1:])])
    charge = FULL - (FULL - LEFT) * drawn / drawn[-1]
    reports = []
    for k, stamp in enumerate(np.arange(0.0, times[-1], 1.0 / BATTERY_HZ)):
        level = amperes = volts = 0.0
        if k >= BOOT_MESSAGES:
            level, amperes = (float(np.interp(stamp, times, v)) for v in (charge, current))
            open_v = CELLS * (EMPTY_V + SPAN_V * level)
            volts = open_v - RESISTANCE_OHM * amperes + float(rng.normal(0.0, 0.03))
        reports.append(
            BatteryState(
                header=header(float(stamp), "base_link"),
                voltage=volts,
                temperature=math.nan,
                current=0.0 - amperes,
                charge=level * CAPACITY_AH,
                capacity=CAPACITY_AH,
                design_capacity=CAPACITY_AH,
                percentage=level,
                power_supply_status=BatteryState.POWER_SUPPLY_STATUS_DISCHARGING,
                power_supply_health=BatteryState.POWER_SUPPLY_HEALTH_GOOD,
                power_supply_technology=BatteryState.POWER_SUPPLY_TECHNOLOGY_LION,
                present=True,
                cell_voltage=[volts / CELLS] * CELLS,
            )
        )
    return reports
