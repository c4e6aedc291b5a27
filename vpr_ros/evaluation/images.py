# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The camera of a bag: its topic, its frames as the encoder node would get them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from vpr_ros.core.frontend import Frame
from vpr_ros.core.images import Image, decode_compressed, decode_raw
from vpr_ros.core.pose import Pose, PoseBuffer
from vpr_ros.evaluation.bag import (
    CAMERA_INFO,
    COMPRESSED,
    IMAGE,
    ODOMETRY,
    Bag,
    BagError,
    stamp_ns,
)


@dataclasses.dataclass(frozen=True)
class Shot:
    """One image message: what the encoder gets, and where to find it again."""

    number: int  # of the image in its topic, from 0
    recorded_ns: int  # when the bag got it
    frame: Frame


@dataclasses.dataclass(frozen=True)
class Topics:
    """What is read from a bag; "" for none."""

    image: str
    odometry: str
    camera_info: str


def choose_topics(bag: Bag, image: str = "", odometry: str = "") -> Topics:
    """Those asked for, else the fullest image topic, an odometry and the image's camera_info.

    Depth images are passed over. BagError if there is no image, or not what was asked for.
    """
    if image:
        bag.require(image, IMAGE, COMPRESSED)
    else:
        found = [t for t in bag.of_type(COMPRESSED, IMAGE) if "depth" not in t.lower()]
        if not found:
            held = ", ".join(f"{topic} ({kind})" for topic, kind in bag.types.items())
            raise BagError(f"Bag {bag.path} holds no images. Its topics: {held or 'none'}.")
        image = max(found, key=lambda topic: bag.counts[topic])
    if odometry:
        bag.require(odometry, ODOMETRY)
    else:
        odometry = next(iter(bag.of_type(ODOMETRY)), "")
    namespace = image.removesuffix("/compressed").rsplit("/", 1)[0]
    infos = bag.of_type(CAMERA_INFO)
    return Topics(image, odometry, next((t for t in infos if t == f"{namespace}/camera_info"), ""))


def shots(bag: Bag, topics: Topics) -> Iterator[Shot]:
    """Every image in order of recording, with what had arrived before it, as on the robot."""
    poses, pose_frame, matrix = PoseBuffer(), "", None
    number = -1
    wanted = [t for t in dataclasses.astuple(topics) if t]
    for topic, recorded_ns, message in bag.messages(wanted):
        if topic == topics.odometry:
            poses.add(stamp_ns(message), to_pose(message.pose.pose))
            pose_frame = message.header.frame_id
        elif topic == topics.camera_info:
            values = np.array(getattr(message, "k", getattr(message, "K", 0)), np.float64)
            matrix = values.reshape(3, 3) if values.size == 9 and values[0] > 0 else None
        else:
            number += 1
            stamp = stamp_ns(message)
            frame = Frame(
                stamp_ns=stamp,
                decode=lambda message=message: decode(message),
                frame=message.header.frame_id,
                pose=poses.at(stamp),
                pose_frame=pose_frame,
                camera_matrix=matrix,
            )
            yield Shot(number, recorded_ns, frame)


def decode(message: Any) -> Image:
    """Pixels of an image message, raw or compressed; ImageError with the reason if none."""
    if hasattr(message, "format"):
        return decode_compressed(message.data, message.format)
    return decode_raw(
        message.data,
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
    )


def pictures(bag: Bag, topic: str, recorded_ns: set[int]) -> dict[int, Image]:
    """The images that the bag got at these times [ns], by time."""
    found = {}
    for when_ns in sorted(recorded_ns):
        for _, _, message in bag.messages([topic], when_ns, when_ns + 1):
            found[when_ns] = decode(message)
    return found


def to_pose(message: Any) -> Pose:
    """A geometry_msgs/Pose as the core's."""
    p, q = message.position, message.orientation
    return Pose(p.x, p.y, p.z, q.x, q.y, q.z, q.w)
