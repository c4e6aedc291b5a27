# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plays the drive at its own pace, as if it happened now: `python -m demo.play BAG PLAY_JSON`.

All stamps are shifted by one constant offset, which the JSON file records, so that the shifted
stamps can be traced back to the drive.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data
from rosbags.rosbag2 import Reader

from demo.topics import ODOM, PLAYED, SENT

KINDS = {topic: kind for topic, kind in SENT.items() if topic != ODOM}  # which is the truth
LISTENER_TIMEOUT_S = 20.0
LEAD_S = 0.3
PROGRESS_S = 0.25
STAMP = struct.Struct("<iI")  # sec, nanosec
STAMP_AT = 4  # after the four bytes of encapsulation: every type here starts with its header


def read(bag: Path) -> list[tuple[int, str, bytearray]]:
    """(nanoseconds of publication, topic, little-endian CDR) of what is played, in order."""
    with Reader(bag) as reader:
        chosen = [c for c in reader.connections if c.topic in KINDS]
        return [(when, c.topic, bytearray(raw)) for c, when, raw in reader.messages(chosen)]


def restamp(raw: bytearray, offset_ns: int) -> bytes:
    """The message with the stamp of its header shifted."""
    sec, nanosec = STAMP.unpack_from(raw, STAMP_AT)
    STAMP.pack_into(raw, STAMP_AT, *divmod(sec * 10**9 + nanosec + offset_ns, 10**9))
    return bytes(raw)


def wait_for_listeners(publishers: dict[str, Publisher]) -> None:
    """Return when every topic has a subscriber; end the process if one never gets any."""
    deadline = time.monotonic() + LISTENER_TIMEOUT_S
    while silent := [t for t, p in publishers.items() if not p.get_subscription_count()]:
        if time.monotonic() > deadline:
            sys.exit(
                f"Nothing subscribes to {', '.join(silent)} after {LISTENER_TIMEOUT_S:.0f} s."
            )
        if not rclpy.ok():
            sys.exit("Interrupted while waiting for listeners.")
        time.sleep(0.05)


def play(
    messages: list[tuple[int, str, bytearray]], publishers: dict[str, Publisher]
) -> dict[str, float]:
    """Publish all messages on time; returns the offset, and how late they were."""
    begin = messages[0][0]
    offset = time.time_ns() + round(LEAD_S * 1e9) - begin
    lags, told = [], 0.0
    for when, topic, raw in messages:
        data = restamp(raw, offset)
        wait_s = (when + offset - time.time_ns()) * 1e-9
        if wait_s > 0:
            time.sleep(wait_s)
        if not rclpy.ok():
            sys.exit("Interrupted while playing.")
        publishers[topic].publish(data)
        lags.append(time.time_ns() - when - offset)
        elapsed = (when - begin) * 1e-9
        if elapsed - told >= PROGRESS_S:
            told = elapsed
            print(f"{PLAYED}{elapsed:.2f}", flush=True)
    return {
        "offset_ns": offset,
        "begin_ns": begin,
        "duration_s": (messages[-1][0] - begin) * 1e-9,
        "lag_p95_ms": round(float(np.percentile(lags, 95)) / 1e6, 3),
    }


def main() -> None:
    """Run the command."""
    bag, report = map(Path, sys.argv[1:])
    messages = read(bag)
    rclpy.init()
    node = Node("drive")
    publishers = {
        # As cameras and drivers usually do.
        topic: node.create_publisher(kind, topic, qos_profile_sensor_data)
        for topic, kind in KINDS.items()
    }
    wait_for_listeners(publishers)
    report.write_text(json.dumps(play(messages, publishers), indent=2) + "\n")
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
