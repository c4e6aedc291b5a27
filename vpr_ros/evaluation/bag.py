# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of ROS 1 and ROS 2, read without ROS; what cannot be read is told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from vpr_ros.core.errors import VprError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
TF = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")  # of ROS 1's first tf
SUFFIXES = (".bag", ".mcap", ".db3")


class BagError(VprError):
    """A bag is missing, damaged, or lacks what was asked of it."""


class Bag:
    """An open bag; use it in a with statement."""

    def __init__(self, path: Path) -> None:
        """`path` is a rosbag2 folder, or a .mcap, .db3 or .bag file; BagError if it is none."""
        self.path = path
        if not path.exists():
            raise BagError(f"Bag {path} does not exist.")
        if not is_bag(path):
            raise BagError(
                f"{path} is no bag. Give a rosbag2 folder (with metadata.yaml; `ros2 bag reindex` "
                "writes one), or a .mcap, .db3 or .bag file."
            )
        # Bags written before Iron hold no definitions of their own.
        with self._told():
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))

    def __enter__(self) -> Bag:
        with self._told():
            self._reader.open()
        self.types: dict[str, str] = {}
        self.counts: dict[str, int] = {}
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
        raise BagError(
            f"Topic '{topic}' {what}. Topics of the right type in {self.path}: {others}."
        )

    def messages(
        self, topics: list[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, int, Any]]:
        """(topic, time of recording [ns], message) in order of recording; BagError where broken.

        Given times, only messages from `start_ns` to before `stop_ns`.
        """
        chosen = [c for c in self._reader.connections if c.topic in topics]
        if not chosen:
            return
        with self._told():
            for connection, when_ns, raw in self._reader.messages(chosen, start_ns, stop_ns):
                yield (
                    connection.topic,
                    when_ns,
                    self._reader.deserialize(raw, connection.msgtype),
                )

    @contextmanager
    def _told(self) -> Iterator[None]:
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


def is_bag(path: Path) -> bool:
    """Does this path look like a bag?"""
    return (path / "metadata.yaml").is_file() if path.is_dir() else path.suffix in SUFFIXES


def stamp_ns(message: Any) -> int:
    """The stamp of a message's header [ns]."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)
