# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of the node tests."""

import copy
import math

import cv2
import numpy as np
from nav_msgs.msg import Odometry
from sensor_msgs.msg import BatteryState, CompressedImage, Image
from std_msgs.msg import Header

from vpr_msgs.msg import Keyframe


def raw(image, stamp, encoding="bgr8"):
    """A sensor_msgs/Image."""
    return Image(
        header=Header(stamp=stamp, frame_id="camera"),
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        step=image.strides[0],
        data=image.tobytes(),
    )


def compressed(image, stamp):
    """A sensor_msgs/CompressedImage (JPEG)."""
    data = cv2.imencode(".jpg", image)[1].tobytes()
    return CompressedImage(header=Header(stamp=stamp, frame_id="camera"), format="jpeg", data=data)


def odometry(x, stamp):
    """A nav_msgs/Odometry at x [m]."""
    message = Odometry(header=Header(stamp=stamp, frame_id="odom"), child_frame_id="base_link")
    message.pose.pose.position.x = float(x)
    return message


def battery(percentage, stamp, **fields):
    """A sensor_msgs/BatteryState."""
    fields = {
        "present": True,
        "power_supply_status": BatteryState.POWER_SUPPLY_STATUS_DISCHARGING,
    } | fields
    return BatteryState(header=Header(stamp=stamp), percentage=percentage, **fields)


def keyframe(number, stamp, size=64, **fields):
    """A Keyframe with a descriptor of its own for every number, and the id 100 + number."""
    descriptor = np.random.default_rng(number).standard_normal(size)
    message = Keyframe(**{"id": 100 + number, "model": "m"} | fields)
    message.header.stamp = stamp
    message.descriptor = (descriptor / np.linalg.norm(descriptor)).astype(np.float32).tolist()
    return message


def hostile_closures(closure):
    """(message, words of the refusal) of LoopClosures that must not be taken."""
    for words, change in {
        "0 and 1 was refused: these are not two": lambda m: setattr(m, "query_id", 0),
        "these are not two keyframes": lambda m: setattr(m, "match_id", m.query_id),
        "its stamp -5 s": lambda m: setattr(m.header.stamp, "sec", -5),
        "4000000000 ns is before": lambda m: setattr(m.match_stamp, "nanosec", 4_000_000_000),
        "its rotation is not valid": lambda m: setattr(m.rotation, "x", math.nan),
        "its confidence is nan": lambda m: setattr(m, "confidence", math.nan),
        "more than 256 characters": lambda m: setattr(m, "match_robot", "r" * 1_000_000),
    }.items():
        message = copy.deepcopy(closure)
        message.has_relative_pose = True
        change(message)
        yield message, words
