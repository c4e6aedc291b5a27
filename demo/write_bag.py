# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Renders the route and writes it as a rosbag2: `python -m demo.write_bag OUT_DIR`."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from rosbags.rosbag2 import StoragePlugin, Writer

from demo.battery_model import readings
from demo.building import building
from demo.camera import Camera
from demo.drive import IMAGE_HZ, ODOM_HZ, DrivePose, drive
from demo.robot_messages import BATTERY, IMAGE, INFO, ODOM, TYPES, Messages
from demo.shade import SHADES
from vpr_ros.core.errors import VprError

EPOCH_S = 1_780_000_000  # stamp of the first message; fixed, so that every bag is the same
ROUTE_FIELDS = ("stamp_s", "x_m", "y_m", "yaw_rad", "lap", "section")


@dataclasses.dataclass(frozen=True)
class Delay:
    """How much later than its stamp a message is published, ns; odometry comes first."""

    odom: int = 0
    battery: int = 200_000
    image: int = 1_000_000


def pictures(poses: list[DrivePose], seed: int) -> Iterator[tuple[DrivePose, np.ndarray]]:
    """Every image pose with its view (480, 640, 3) uint8 BGR, shaded as its lap demands."""
    rng = np.random.default_rng(seed)
    frames = poses[:: ODOM_HZ // IMAGE_HZ]
    with Camera(building(), (poses[0].x_m, poses[0].y_m), seed) as camera:
        for pose in frames:
            view = camera.picture(pose.x_m, pose.y_m, pose.yaw_rad)
            yield pose, SHADES[pose.lap].apply(view, rng)


def write_bag(folder: Path, seed: int = 1, quiet: bool = False) -> list[DrivePose]:
    """Write the drive to `folder`, which must not exist; return the poses of the images.

    Beside the bag's own files lies `route.csv`, one line an image: stamp_s (as in the message's
    header), x_m, y_m, yaw_rad, lap (3: new territory), section.
    """
    if folder.exists():
        raise VprError(f"The folder '{folder}' exists already; give a new one or remove it.")
    poses = drive(building())
    make, delay = Messages(), Delay()
    queue: list[tuple[int, str, Any]] = []
    for pose in poses:
        stamp = nanoseconds(pose.stamp_s)
        queue.append((stamp + delay.odom, ODOM, make.odometry(stamp, pose)))
    times, speeds = (np.array([getattr(p, k) for p in poses]) for k in ("stamp_s", "speed"))
    for reading in readings(times, speeds, seed):
        stamp = nanoseconds(reading.stamp_s)
        queue.append((stamp + delay.battery, BATTERY, make.battery(stamp, reading)))
    frames = len(poses[:: ODOM_HZ // IMAGE_HZ])
    shots = track(pictures(poses, seed), "Rendering the route", frames, disable=quiet)
    taken = []
    for pose, picture in shots:
        taken.append(pose)
        stamp = nanoseconds(pose.stamp_s)
        queue.append((stamp + delay.image, IMAGE, make.image(stamp, picture)))
        queue.append((stamp + delay.image, INFO, make.info(stamp)))
    queue.sort(key=lambda entry: entry[0])
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {t: writer.add_connection(t, TYPES[t], typestore=make.store) for t in TYPES}
        for when, topic, message in queue:
            writer.write(topics[topic], when, make.store.serialize_cdr(message, TYPES[topic]))
    write_route(folder / "route.csv", taken)
    return taken


def write_route(path: Path, poses: list[DrivePose]) -> None:
    """The true poses of the images as a table."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(ROUTE_FIELDS)
        for p in poses:
            place = (f"{p.x_m:.4f}", f"{p.y_m:.4f}", f"{p.yaw_rad:.5f}", p.lap, p.section)
            table.writerow((f"{EPOCH_S + p.stamp_s:.3f}", *place))


def nanoseconds(stamp_s: float) -> int:
    """A time of the drive as a ROS stamp."""
    return EPOCH_S * 10**9 + round(stamp_s * 1e9)


def main() -> int:
    """Run the command; errors that a user can act on are one line."""
    parser = argparse.ArgumentParser(prog="python -m demo.write_bag", description=__doc__)
    parser.add_argument("out_dir", type=Path, help="folder of the bag; must not exist")
    parser.add_argument("--seed", type=int, default=1, help="of noise and battery (default 1)")
    arguments = parser.parse_args()
    try:
        taken = write_bag(arguments.out_dir, arguments.seed)
    except VprError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{len(taken)} images over {taken[-1].stamp_s:.1f} s in {arguments.out_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
