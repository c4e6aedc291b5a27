# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of ROS 1 and ROS 2, read without ROS, and the images in them as the encoder gets them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from vpr_ros.core.camera_model import CameraModel, is_rectified
from vpr_ros.core.errors import CameraError, ImageError, VprError
from vpr_ros.core.frontend import Frame
from vpr_ros.core.image_files import decode_compressed
from vpr_ros.core.images import Image, decode_raw
from vpr_ros.core.pose import Pose, PoseBuffer
from vpr_ros.core.value_range import ValueRange

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
TF = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")  # the latter of ROS 1's first tf
COLOUR, GREY, HEAT, DEPTH = range(4)  # kinds of cameras, the best first
DEPTH_ENCODINGS = ("16UC1", "32FC1")  # REP 118
SUFFIXES = (".bag", ".mcap", ".db3")


class BagError(VprError):
    """A bag is missing, damaged, or lacks what was asked of it."""


class Bag:
    """A bag to read; use it in a with statement."""

    def __init__(self, path: Path) -> None:
        """`path`: a rosbag2 folder, or a .mcap, .db3 or .bag file; BagError if it is neither."""
        self.path = path
        if not path.exists():
            raise BagError(f"Bag {path} does not exist.")
        if not is_bag(path):
            raise BagError(_why_no_bag(path))
        # Bags written before Iron hold no definitions of their own.
        with self._one_line():
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        self._parseable = [_Parseable(one) for one in self._reader.readers]
        self._reader.readers = self._parseable  # type: ignore[assignment]

    def __enter__(self) -> Bag:
        with self._one_line():
            self._reader.open()
        self.types: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        # Topics that are skipped, and why their messages cannot be understood.
        self.unreadable = {t: why for r in self._parseable for t, why in r.unreadable.items()}
        for topic, info in self._reader.topics.items():
            self.types[topic] = info.msgtype or ""
            self.counts[topic] = info.msgcount
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def duration_s(self) -> float:
        """From the first message to the last [s]."""
        return max(0.0, self._reader.duration * 1e-9) if self.counts else 0.0

    def of_type(self, *types: str) -> list[str]:
        """Topics that hold messages of one of these types, in the order of the types."""
        return [t for kind in types for t, k in self.types.items() if k == kind and self.counts[t]]

    def require(self, topic: str, *types: str) -> str:
        """The topic, if it holds messages of one of these types; else BagError."""
        if topic in self.of_type(*types):
            return topic
        others = ", ".join(self.of_type(*types)) or "none"
        kind = self.types.get(topic)
        what = "is not in the bag" if kind is None else f"holds {self.counts[topic]} x {kind}"
        if topic in self.unreadable:
            what = f"cannot be read: {self.unreadable[topic]}"
        raise BagError(
            f"Topic '{topic}' {what}. Topics of the right type in {self.path}: {others}."
        )

    def messages(
        self, topics: list[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, int, Any]]:
        """(topic, time of recording [ns], message) in order of recording; BagError where broken.

        With times, only messages from `start_ns` to before `stop_ns`.
        """
        chosen = [c for c in self._reader.connections if c.topic in topics]
        if not chosen:
            return
        with self._one_line():
            for connection, when_ns, raw in self._reader.messages(chosen, start_ns, stop_ns):
                message = self._reader.deserialize(raw, connection.msgtype)
                yield connection.topic, when_ns, message

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Whatever a damaged file makes the reader raise, the user gets one line."""
        try:
            yield
        except (VprError, KeyboardInterrupt, GeneratorExit):
            raise
        except Exception as error:  # struct, sqlite3, zstd, YAML and rosbags' own errors
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BagError(
                f"Bag {self.path} cannot be read ({reason}). Record it again, or repair it with "
                "`mcap recover`, `ros2 bag reindex` or `rosbag reindex`."
            ) from error


class _Parseable:
    """A reader of rosbags without the connections whose message definition it cannot parse.

    AnyReader gives up the whole bag for one of them.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.connections: list[Any] = []
        self.unreadable: dict[str, str] = {}  # topic -> why

    def __enter__(self) -> _Parseable:
        self._reader.open()
        faults: dict[tuple[str, str], str] = {}
        for one in self._reader.connections:
            key = one.msgtype, one.msgdef.data
            if key not in faults:
                faults[key] = _definition_fault(one)
            if faults[key]:
                self.unreadable[one.topic] = faults[key]
            else:
                self.connections.append(one)
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def topics(self) -> dict[str, Any]:
        """As the reader has them, less the unreadable ones."""
        return {t: i for t, i in self._reader.topics.items() if t not in self.unreadable}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def _definition_fault(connection: Any) -> str:
    """Why the definition of a connection's type is of no use; "" if it is good, or not there."""
    data, form = connection.msgdef.data, connection.msgdef.format.name
    store = get_typestore(Stores.EMPTY)
    try:
        if form == "MSG":
            store.register(get_types_from_msg(data, connection.msgtype))
            store.generate_msgdef(connection.msgtype)
        elif form == "IDL":
            for part in filter(None, re.split(r"=+\nIDL: .*\n", data)):
                store.register(get_types_from_idl(part))
    except Exception as error:  # rosbags' parser raises whatever its grammar stumbles over
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"the definition of {connection.msgtype} cannot be parsed ({reason[:200]})"
    return ""


def _why_no_bag(path: Path) -> str:
    stored = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES) if path.is_dir() else []
    if not stored:
        return (
            f"{path} is not a bag. Give a rosbag2 folder (with metadata.yaml), a .mcap, .db3 or "
            ".bag file, or a folder of TUM RGB-D, KITTI odometry (sequences/NN) or EuRoC (mav0)."
        )
    if stored[0].suffix == ".bag":
        return f"{path} is a folder of ROS 1 bags. Give one of them, such as {stored[0]}."
    return (
        f"{path} has no metadata.yaml: its recording was cut short. Write one with `ros2 bag "
        f"reindex {path}`, or give a file of it: {stored[0]} (if it cannot be read either, "
        "`mcap recover` mends an .mcap)."
    )


@dataclasses.dataclass(frozen=True)
class Topics:
    """What is read from a bag; "" for none."""

    image: str
    odometry: str = ""
    camera_info: str = ""


@dataclasses.dataclass(frozen=True)
class BagImage:
    """One image message: what the encoder gets, and where to find it again."""

    number: int  # of the image in its topic, from 0
    recorded_ns: int  # when the bag got it
    frame: Frame


def is_bag(path: Path) -> bool:
    """Does this path look like a bag?"""
    return (path / "metadata.yaml").is_file() if path.is_dir() else path.suffix in SUFFIXES


def choose_topics(bag: Bag, image: str = "", odometry: str = "") -> Topics:
    """The topics asked for, else the first of `cameras`, an odometry, the camera's camera_info.

    BagError if there is no image, or not what was asked for.
    """
    if image:
        bag.require(image, IMAGE, COMPRESSED)
    else:
        found = cameras(bag)
        if not found:
            held = ", ".join(f"{topic} ({kind})" for topic, kind in bag.types.items())
            skipped = "".join(f" {t} is skipped: {why}." for t, why in bag.unreadable.items())
            raise BagError(
                f"Bag {bag.path} holds no images of a camera. Its topics: {held or 'none'}."
                + skipped
            )
        image = found[0]
    if odometry:
        bag.require(odometry, ODOMETRY)
    else:
        odometry = next(iter(bag.of_type(ODOMETRY)), "")
    namespace = image.removesuffix("/compressed").rsplit("/", 1)[0]
    infos = bag.of_type(CAMERA_INFO)
    return Topics(image, odometry, next((t for t in infos if t == f"{namespace}/camera_info"), ""))


def cameras(bag: Bag) -> list[str]:
    """Image topics, the best first: colour, grey, then thermal and infrared; never depth.

    Of a kind the fullest is first. One with less than a tenth of the images of the fullest comes
    last: it is no camera to drive by.
    """
    kinds = {t: _camera_kind(bag, t) for t in bag.of_type(COMPRESSED, IMAGE)}
    most = max((bag.counts[t] for t, kind in kinds.items() if kind != DEPTH), default=0)
    found = [t for t in kinds if kinds[t] != DEPTH]
    return sorted(found, key=lambda t: (10 * bag.counts[t] < most, kinds[t], -bag.counts[t]))


def _camera_kind(bag: Bag, topic: str) -> int:
    """COLOUR, GREY, HEAT or DEPTH, by the topic's name and its first good image."""
    words = set(re.split("[^a-z]+", topic.lower()))
    if any(word.startswith(("depth", "disparity", "mask")) for word in words):
        return DEPTH
    if any(
        word.startswith(("thermal", "infra", "lwir", "flir")) or word == "ir" for word in words
    ):
        return HEAT
    for _, _, message in bag.messages([topic]):
        if (getattr(message, "encoding", "") or message.format.split(";")[0]) in DEPTH_ENCODINGS:
            return DEPTH
        if hasattr(message, "encoding"):
            return GREY if message.encoding.startswith(("mono", "8UC1")) else COLOUR
        pixels = None
        with suppress(cv2.error, ImageError):  # it is missing, empty, or claims to be huge
            pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is not None:
            return COLOUR if pixels.ndim == 3 else GREY
    return COLOUR


def bag_images(bag: Bag, topics: Topics) -> Iterator[BagImage]:
    """Every image in order of recording, with what had arrived before it, as on the robot."""
    poses, camera, seen = PoseBuffer(), None, ValueRange()
    number = -1
    wanted = [t for t in dataclasses.astuple(topics) if t]
    for topic, recorded_ns, message in bag.messages(wanted):
        if topic == topics.odometry:
            poses.add(stamp_ns(message), to_pose(message.pose.pose), message.header.frame_id)
        elif topic == topics.camera_info:
            camera = to_camera(message, is_rectified(topics.image))
        else:
            number += 1
            stamp = stamp_ns(message)
            frame = Frame(
                stamp_ns=stamp,
                decode=lambda message=message: decode(message, seen),  # type: ignore[misc]
                frame=message.header.frame_id,
                pose=poses.at(stamp),
                pose_frame=poses.frame,
                camera=camera,
            )
            yield BagImage(number, recorded_ns, frame)


def pictures(bag: Bag, topic: str, recorded_ns: set[int]) -> dict[int, Image]:
    """The images that the bag got at these times [ns], by time."""
    found = {}
    for when_ns in sorted(recorded_ns):
        for _, _, message in bag.messages([topic], when_ns, when_ns + 1):
            found[when_ns] = decode(message)
    return found


def decode(message: Any, values: ValueRange | None = None) -> Image:
    """Pixels of an image message, raw or compressed; ImageError with the reason if none.

    `values` is the range of the camera's 16-bit images; without it, that of this image.
    """
    if hasattr(message, "format"):
        return decode_compressed(message.data, message.format, values)
    return decode_raw(
        message.data,
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
        values=values,
    )


def stamp_ns(message: Any) -> int:
    """The stamp of a message's header [ns]."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def to_pose(message: Any) -> Pose:
    """The Pose of a geometry_msgs/Pose."""
    p, q = message.position, message.orientation
    return Pose(p.x, p.y, p.z, q.x, q.y, q.z, q.w)


def to_camera(message: Any, rectified: bool) -> CameraModel | None:
    """The CameraModel of a CameraInfo of ROS 1 or 2; None if it cannot be used."""
    k, d, p = (getattr(message, name, getattr(message, name.upper(), ())) for name in "kdp")
    roi = message.roi
    with suppress(CameraError):
        return CameraModel.of(
            k=k,
            d=d,
            p=p,
            model=message.distortion_model,
            size=(message.width, message.height),
            binning=(message.binning_x, message.binning_y),
            roi=(roi.x_offset, roi.y_offset, roi.width, roi.height),
            rectified=rectified,
        )
    return None
