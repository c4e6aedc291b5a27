# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Renders the drive, the second lap in other light, and writes it as a rosbag2."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track
from rosbags.rosbag2 import StoragePlugin, Writer

from demo.battery_model import readings
from demo.camera import Camera
from demo.drive import IMAGE_HZ, ODOM_HZ, DrivePose
from demo.floor_plan import Plan
from demo.robot_messages import BATTERY, IMAGE, INFO, ODOM, TYPES, WHEELS, Messages
from demo.trajectory import drifting
from vpr_ros.core.errors import VprError

EPOCH_S = 1_780_000_000  # stamp of the first message; fixed, so that every bag is the same
# How much later than its stamp a message is published, ns: odometry comes before the image.
BATTERY_DELAY, IMAGE_DELAY = 200_000, 1_000_000


@dataclasses.dataclass(frozen=True)
class Shade:
    """A change of tone, applied the same way to every picture of a lap."""

    gamma: float = 1.0  # above 1 darkens the middle tones
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # B, G, R
    blur_px: float = 0.0  # sigma
    noise: float = 0.0  # sigma in grey levels

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The picture (H, W, 3) uint8 BGR under this light; the noise is drawn from `rng`."""
        tones = np.linspace(0.0, 1.0, 256) ** self.gamma * 255.0
        table = np.clip(np.outer(tones, self.gain).round(), 0, 255).astype(np.uint8)
        shaded = cv2.LUT(image, table[:, np.newaxis, :])
        if self.blur_px > 0.0:
            shaded = cv2.GaussianBlur(shaded, (0, 0), self.blur_px)
        if self.noise > 0.0:
            # Sensor noise; one channel for all three costs a third and looks the same.
            grain = rng.normal(0.0, self.noise, shaded.shape[:2]).astype(np.float32)
            noisy = shaded.astype(np.float32) + grain[..., np.newaxis]
            shaded = np.clip(noisy, 0, 255).astype(np.uint8)
        return np.asarray(shaded)


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
    battery: bool = True,
    quiet: bool = False,
) -> None:
    """Write a drive through a plan to `folder`, which must not exist.

    ODOM has the true poses, exact and at every image; WHEELS starts at zero and drifts.
    """
    if folder.exists():
        raise VprError(f"The folder '{folder}' exists already; give a new one or remove it.")
    make = Messages()
    queue: list[tuple[int, str, Any]] = []
    start = poses[0].pose.inverse()
    wheels = drifting([start.compose(pose.pose) for pose in poses], seed)
    for pose, drifted in zip(poses, wheels, strict=True):
        stamp = nanoseconds(pose.stamp_s)
        queue.append((stamp, ODOM, make.odometry(stamp, pose)))
        queue.append((stamp, WHEELS, make.odometry(stamp, pose.at(drifted))))
    times, speeds = (np.array([getattr(p, k) for p in poses]) for k in ("stamp_s", "speed"))
    for reading in readings(times, speeds, seed) if battery else ():
        stamp = nanoseconds(reading.stamp_s)
        queue.append((stamp + BATTERY_DELAY, BATTERY, make.battery(stamp, reading)))
    frames = len(poses[:: ODOM_HZ // IMAGE_HZ])
    shots = track(pictures(plan, poses, seed), "Rendering the route", frames, disable=quiet)
    for pose, picture in shots:
        stamp = nanoseconds(pose.stamp_s)
        queue.append((stamp + IMAGE_DELAY, IMAGE, make.image(stamp, picture)))
        queue.append((stamp + IMAGE_DELAY, INFO, make.info(stamp)))
    queue.sort(key=lambda entry: entry[0])
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {t: writer.add_connection(t, TYPES[t], typestore=make.store) for t in TYPES}
        for when, topic, message in queue:
            writer.write(topics[topic], when, make.store.serialize_cdr(message, TYPES[topic]))


def nanoseconds(stamp_s: float) -> int:
    """A time of the drive as a ROS stamp [ns]."""
    return EPOCH_S * 10**9 + round(stamp_s * 1e9)
