# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags and answers small enough to know everything about; bags skip without rosbags."""

import math

import cv2
import numpy as np
import pytest

from vpr_ros.core.loop_detector import Reason
from vpr_ros.evaluation.replay import Answer

S = 10**9
START_NS = 1_780_000_000 * S
TF = "tf2_msgs/msg/TFMessage"


@pytest.fixture
def picture():
    """picture(number): (240, 320, 3) BGR, unlike one another, the same for the same number."""

    def draw(number):
        random = np.random.default_rng(number)
        image = np.full((240, 320, 3), random.integers(0, 255, 3), np.uint8)
        for _ in range(60):
            (x, y), size = random.integers(0, 320, 2), random.integers(5, 50)
            colour = tuple(map(int, random.integers(0, 255, 3)))
            cv2.rectangle(image, (int(x), int(y)), (int(x + size), int(y + size)), colour, -1)
        return image

    return draw


@pytest.fixture
def make_answer():
    """make(t_s, best, score, match): the answer to one keyframe."""

    def make(t_s, best=None, score=math.nan, match=None, margin=math.inf, **fields):
        reason = Reason.NO_OLDER_PLACES if best is None else Reason.LOW_SCORE
        values = {
            "number": 0,
            "recorded_ns": 0,
            "stamp_ns": round(t_s * S),
            "session": 0,
            "encode_ms": 1.0,
            "search_ms": 1.0,
            "reason": reason if match is None else Reason.ACCEPTED,
            "message": "",
            "best": best,
            "score": score,
            "margin": margin,
            "match": match,
            "inliers": None,
        }
        return Answer(**{**values, **fields})

    return make


class BagWriter:
    """Writes messages of any version of ROS by topic; stamps in seconds since START_NS."""

    def __init__(self, path, kind):
        from rosbags import rosbag1, rosbag2
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        self.kind = kind
        self.store = get_typestore(Stores.ROS1_NOETIC if kind == "bag" else Stores.ROS2_JAZZY)
        if TF not in self.store.types:  # ROS 1's standard types are without it
            self.store.register(
                get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TF)
            )
        plugins = {"mcap": rosbag2.StoragePlugin.MCAP, "db3": rosbag2.StoragePlugin.SQLITE3}
        if kind == "bag":
            self.writer = rosbag1.Writer(path)
        else:
            self.writer = rosbag2.Writer(path, version=9, storage_plugin=plugins[kind])
        self.connections = {}

    def __enter__(self):
        self.writer.open()
        return self

    def __exit__(self, *_):
        self.writer.close()

    def type(self, name):
        return self.store.types[name]

    def header(self, t_s, frame="camera"):
        ns = START_NS + round(t_s * S)
        time = self.type("builtin_interfaces/msg/Time")(sec=ns // S, nanosec=ns % S)
        extra = {"seq": 0} if self.kind == "bag" else {}
        return self.type("std_msgs/msg/Header")(stamp=time, frame_id=frame, **extra)

    def write(self, topic, kind, t_s, **fields):
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        message = self.type(kind)(**fields)
        code = self.store.serialize_ros1 if self.kind == "bag" else self.store.serialize_cdr
        when = START_NS + round(t_s * S)
        self.writer.write(self.connections[topic], when, code(message, kind))

    def image(self, t_s, image, topic="/camera/image_raw", header=None):
        height, width = image.shape[:2]
        self.write(
            topic, "sensor_msgs/msg/Image", t_s, header=header or self.header(t_s),
            height=height, width=width, encoding="bgr8", is_bigendian=0, step=3 * width,
            data=image.reshape(-1),
        )  # fmt: skip

    def compressed(self, t_s, image, topic="/camera/image_raw/compressed"):
        data = cv2.imencode(".png", image)[1].reshape(-1)
        self.write(
            topic, "sensor_msgs/msg/CompressedImage", t_s, header=self.header(t_s), format="png",
            data=data,
        )  # fmt: skip

    def pose(self, x, y, yaw):
        point = self.type("geometry_msgs/msg/Point")(x=float(x), y=float(y), z=0.0)
        quaternion = self.type("geometry_msgs/msg/Quaternion")(
            x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2)
        )
        return self.type("geometry_msgs/msg/Pose")(position=point, orientation=quaternion)

    def odometry(self, t_s, x, y, yaw=0.0, topic="/odom"):
        vector = self.type("geometry_msgs/msg/Vector3")
        twist = self.type("geometry_msgs/msg/Twist")(
            linear=vector(x=0.0, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=0.0)
        )
        none = np.zeros(36)
        self.write(
            topic, "nav_msgs/msg/Odometry", t_s, header=self.header(t_s, "odom"),
            child_frame_id="base_link",
            pose=self.type("geometry_msgs/msg/PoseWithCovariance")(
                pose=self.pose(x, y, yaw), covariance=none
            ),
            twist=self.type("geometry_msgs/msg/TwistWithCovariance")(twist=twist, covariance=none),
        )  # fmt: skip

    def pose_stamped(self, t_s, x, y, yaw=0.0, topic="/ground_truth"):
        self.write(
            topic, "geometry_msgs/msg/PoseStamped", t_s, header=self.header(t_s, "map"),
            pose=self.pose(x, y, yaw),
        )  # fmt: skip

    def transform(self, t_s, parent, child, x, y, yaw=0.0, topic="/tf"):
        pose = self.pose(x, y, yaw)
        translation = self.type("geometry_msgs/msg/Vector3")(x=float(x), y=float(y), z=0.0)
        edge = self.type("geometry_msgs/msg/TransformStamped")(
            header=self.header(t_s, parent),
            child_frame_id=child,
            transform=self.type("geometry_msgs/msg/Transform")(
                translation=translation, rotation=pose.orientation
            ),
        )
        self.write(topic, TF, t_s, transforms=[edge])


@pytest.fixture
def bag_writer():
    """bag_writer(path, kind): a writer of mcap, db3 or (ROS 1) bag."""
    return BagWriter


@pytest.fixture
def lap_bag(tmp_path, picture, bag_writer):
    """lap_bag(kind): a bag of 12 places 2 m apart, driven twice in 48 s; odometry is exact."""

    def make(kind="mcap", compressed=False, odometry=True):
        path = tmp_path / (f"laps_{kind}" + (".bag" if kind == "bag" else ""))
        with bag_writer(path, kind) as bag:
            for step in range(24):
                place, t_s = step % 12, 2.0 * step
                if odometry:
                    bag.odometry(t_s, 2.0 * place, 0.1 * (step // 12))
                write = bag.compressed if compressed else bag.image
                write(t_s + 0.001, picture(place))
        return path

    return make
