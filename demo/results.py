# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A results folder, read back: the drive, what the nodes made of it, and the judgement."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from demo.recording import Recording, read_recording
from demo.robot_messages import BATTERY, IMAGE
from demo.score import Score, score
from demo.truth import Truth
from vpr_ros.core.errors import VprError


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything about one drive."""

    folder: Path
    play: dict[str, Any]  # as the player wrote it
    truth: Truth
    recording: Recording
    score: Score
    battery: np.ndarray  # (N, 2) seconds into the drive, charge 0..1

    @classmethod
    def read(cls, folder: Path) -> Results:
        """From a folder that the demo has left; VprError if a part is missing."""
        for part in ("drive/route.csv", "play.json", "closures/metadata.yaml"):
            if not (folder / part).is_file():
                raise VprError(
                    f"'{folder / part}' is missing: the drive did not end. Run it anew."
                )
        play = json.loads((folder / "play.json").read_text())
        truth = Truth.read(folder / "drive" / "route.csv")
        recording = read_recording(folder / "closures", play["offset_ns"], play["begin_ns"])
        if not recording.answers:
            raise VprError(f"The database answered nothing; see the logs in {folder / 'logs'}.")
        judged = score(recording.answers, recording.closures, truth)
        battery = _battery(folder / "drive", play["begin_ns"])
        return cls(folder, play, truth, recording, judged, battery)

    def seconds(self, stamp_ns: int) -> float:
        """Into the drive."""
        return float(stamp_ns - self.play["begin_ns"]) * 1e-9

    def pictures(self, stamps_ns: set[int]) -> dict[int, np.ndarray]:
        """The drive's images (480, 640, 3) uint8 BGR at these stamps."""
        found: dict[int, np.ndarray] = {}
        for message in _messages(self.folder / "drive", IMAGE):
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if stamp in stamps_ns:
                found[stamp] = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
        return found


def _messages(bag: Path, topic: str) -> Any:
    store = get_typestore(Stores.ROS2_JAZZY)
    with Reader(bag) as reader:
        chosen = [c for c in reader.connections if c.topic == topic]
        for connection, _, raw in reader.messages(chosen):
            yield store.deserialize_cdr(raw, connection.msgtype)


def _battery(bag: Path, begin_ns: int) -> np.ndarray:
    rows = []
    for message in _messages(bag, BATTERY):
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        rows.append(((stamp - begin_ns) * 1e-9, message.percentage))
    return np.array(rows)
