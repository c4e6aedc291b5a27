# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Renders the drive, the second lap in other light, and writes it as a rosbag2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from rich.progress import track
from rosbags.rosbag2 import StoragePlugin, Writer

from demo.camera import Camera, Shade
from demo.drive import IMAGE_HZ, ODOM_HZ, DrivePose, drifting
from demo.floor_plan import Plan
from demo.robot_messages import battery, camera_info, image, odometry
from demo.topics import BATTERY, IMAGE, INFO, ODOM, SENT, WHEELS, connections
from vpr_ros.core.errors import VprError
from vpr_ros.evaluation.bag import stamp_ns

# How much later than its stamp a message is published, ns: odometry comes before the image.
DELAYS = {BATTERY: 200_000, IMAGE: 1_000_000, INFO: 1_000_000}
NOON = Shade()
EVENING = Shade(gamma=1.2, gain=(0.82, 0.95, 1.08), blur_px=0.6, noise=3.0)
MORNING = Shade(gamma=0.9, gain=(1.06, 1.0, 0.92), noise=2.0)
SHADES = {1: NOON, 2: EVENING, 3: EVENING, 4: MORNING}  # by lap


def pictures(
    plan: Plan, poses: list[DrivePose], seed: int
) -> Iterator[tuple[DrivePose, np.ndarray]]:
    """Every image pose with its view (480, 640, 3) uint8 BGR, in the light of its lap."""
    rng = np.random.default_rng(seed)
    frames = poses[:: ODOM_HZ // IMAGE_HZ]
    with Camera(plan, (poses[0].x_m, poses[0].y_m), seed) as camera:
        for pose in frames:
            view = camera.picture(pose.x_m, pose.y_m, pose.yaw_rad)
            yield pose, SHADES[pose.lap].apply(view, rng)


def write_bag(
    folder: Path,
    plan: Plan,
    poses: list[DrivePose],
    seed: int = 1,
    charge: bool = True,
    quiet: bool = False,
) -> None:
    """Write a drive through a plan to `folder`, which must not exist.

    ODOM has the true poses, exact and at every image; WHEELS starts at zero and drifts. `charge`:
    with the battery's.
    """  # fmt: skip
    if folder.exists():
        raise VprError(f"The folder '{folder}' exists already; give a new one or remove it.")
    queue: list[tuple[str, Any]] = []
    start = poses[0].pose.inverse()
    wheels = drifting([start.compose(pose.pose) for pose in poses], seed)
    for pose, drifted in zip(poses, wheels, strict=True):
        queue += [(ODOM, odometry(pose)), (WHEELS, odometry(pose.at(drifted)))]
    times, speeds = (np.array([getattr(p, k) for p in poses]) for k in ("stamp_s", "speed"))
    queue += [(BATTERY, report) for report in battery(times, speeds, seed) if charge]
    frames = len(poses[:: ODOM_HZ // IMAGE_HZ])
    shots = track(pictures(plan, poses, seed), "Rendering the route", frames, disable=quiet)
    for pose, picture in shots:
        queue.append((IMAGE, image(pose.stamp_s, picture)))
        queue.append((INFO, camera_info(pose.stamp_s)))
    due = [(stamp_ns(message) + DELAYS.get(topic, 0), topic, message) for topic, message in queue]
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = connections(writer, SENT)
        for when, topic, message in sorted(due, key=lambda entry: entry[0]):
            writer.write(topics[topic], when, serialize_message(message))
