# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The drive: where the robot is at every instant, where wheel odometry has it, and how far off."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from vpr_ros.core.pose import Pose

ODOM_HZ = 20
IMAGE_HZ = 10
SPEED = {1: 2.4, 2: 3.12, 3: 2.4}  # m/s by lap; lap 3 is the part never seen before
ACCELERATION = 1.5  # m/s^2
TURN_RATE = math.radians(75.0)  # 1/s; the robot slows down for a bend
STOP_AT_M, STOP_S = 26.0, 4.0  # in the store: standing still must add no keyframe
WAKE_UP_S, WAKE_UP_M = 12, 0.35  # the second run: how long, and how far aside
LATERAL_M, LATERAL_PERIOD_M = 0.55, 23.0  # of lap 2 against lap 1
HEADING_RAD, HEADING_PERIOD_M = math.radians(10.0), 13.0
WOBBLE_RAD, WOBBLE_HZ = math.radians(2.0), 0.9
BIAS_DEG = 0.5  # heading that the odometry loses to one side, per metre
NOISE_DEG, SCALE = 0.3, 0.02  # standard deviations: per root metre, and of the length of the way

RING = (
    (2.5, 0.0), (5.5, 0.0), (12.0, 0.0), (18.5, 0.0), (21.0, -1.4), (24.0, 0.6), (27.5, 0.0),
    (30.5, 0.0), (32.6, -0.4), (32.0, 5.5), (32.4, 8.5), (32.0, 11.5), (32.4, 16.0),
    (29.5, 16.0), (26.5, 16.0), (20.0, 16.0), (13.5, 16.0), (11.0, 17.2), (7.0, 15.2),
    (4.5, 16.0), (2.5, 16.0), (-0.6, 16.2), (0.0, 11.5), (-0.6, 8.0), (0.0, 4.5), (0.0, -0.3),
)  # fmt: skip
BRANCH_AFTER = 23  # waypoints of lap 2 that still follow the ring
BRANCH = (
    (-0.6, 8.0), (-4.5, 8.0), (-7.5, 7.0), (-12.0, 7.6), (-15.5, 8.0), (-19.0, 7.6),
    (-21.8, 9.0), (-22.0, 13.5),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DrivePose:
    """Where the robot is at one instant, in the odometry frame."""

    stamp_s: float  # since the start of the drive
    x_m: float
    y_m: float
    yaw_rad: float  # counter-clockwise from +x, in (-pi, pi]
    speed: float  # m/s
    yaw_rate: float  # rad/s
    lap: int  # 1, 2, 3 for new territory, 4 for the next day

    @property
    def pose(self) -> Pose:
        """The same without the motion."""
        return Pose.planar(self.x_m, self.y_m, self.yaw_rad)

    def at(self, pose: Pose) -> DrivePose:
        """The same motion at another place."""
        return dataclasses.replace(self, x_m=pose.x, y_m=pose.y, yaw_rad=pose.yaw)


def drive() -> list[DrivePose]:
    """The poses at ODOM_HZ: a lap, a second one along other lines, then a wing never seen."""
    path = _path()
    step = np.hypot(*np.diff(path[:, :2], axis=0).T)
    arc = np.concatenate([[0.0], np.cumsum(step)])  # (P,) m
    second = float(np.interp(len(RING), path[:, 2], arc))
    third = float(np.interp(len(RING) + BRANCH_AFTER, path[:, 2], arc))
    times, places = _schedule(path, arc, second, third)
    x, y, yaw = _aside(path, arc, times, places, second)
    turned = [math.remainder(value, math.tau) for value in yaw]
    rates = np.gradient(places, times), np.gradient(yaw, times)
    laps = 1 + (places >= second).astype(int) + (places >= third)
    columns = [list(map(float, column)) for column in (times.round(6), x, y, turned, *rates)]
    return [DrivePose(*row) for row in zip(*columns, laps.tolist(), strict=True)]


def wake_up(poses: list[DrivePose], seed: int) -> list[DrivePose]:
    """The next day: some seconds from a random place of the first lap, on lines of their own."""
    rng = np.random.default_rng(seed)
    first = [pose for pose in poses if pose.lap == 1]
    start = int(rng.integers(len(first) - WAKE_UP_S * ODOM_HZ))
    chosen, (phase, turn) = first[start : start + WAKE_UP_S * ODOM_HZ], rng.uniform(0, math.tau, 2)
    moved = []
    for pose in chosen:
        second = pose.stamp_s - chosen[0].stamp_s
        aside = WAKE_UP_M * math.sin(phase + second)
        askew = HEADING_RAD * math.sin(turn + 0.8 * second)
        here = pose.at(pose.pose.compose(Pose.planar(0.0, aside, askew)))
        moved.append(dataclasses.replace(here, stamp_s=round(second, 6), lap=4))
    return moved


def drifting(poses: Sequence[Pose], seed: int, bias_deg: float = BIAS_DEG) -> list[Pose]:
    """The poses that wheel odometry gives for true ones: it starts right and then drifts."""
    rng = np.random.default_rng(seed)
    bias_deg, scale = rng.choice((-1, 1)) * bias_deg, 1 + rng.normal(0, SCALE)
    moved = [poses[0]]
    for before, here in itertools.pairwise(poses):
        step, way_m = before.inverse().compose(here), before.distance_m(here)
        off = bias_deg * way_m + rng.normal(0, NOISE_DEG) * math.sqrt(way_m)
        step = dataclasses.replace(step, x=step.x * scale, y=step.y * scale)
        moved.append(moved[-1].compose(step).compose(Pose.planar(0.0, 0.0, math.radians(off))))
    return moved


def alignment(poses: Sequence[Pose], truth: Sequence[Pose]) -> Pose:
    """The best rigid alignment in the plane (Umeyama 1991): composed with a pose, near its truth.

    A corrected trajectory has a frame of its own, which no odometry knows.
    """
    a, b = (np.array([[p.x, p.y] for p in side]) for side in (poses, truth))
    u, _, v = np.linalg.svd((a - a.mean(axis=0)).T @ (b - b.mean(axis=0)))
    turn = (u @ np.diag([1, np.linalg.det(u @ v)]) @ v).T
    x, y = b.mean(axis=0) - turn @ a.mean(axis=0)
    return Pose.planar(float(x), float(y), math.atan2(turn[1, 0], turn[0, 0]))


def ate_m(poses: Sequence[Pose], truth: Sequence[Pose]) -> float:
    """Absolute trajectory error: RMSE of positions in the plane after the best alignment."""
    there = alignment(poses, truth)
    off = [there.compose(p).distance_m(t) for p, t in zip(poses, truth, strict=True)]
    return float(np.sqrt(np.mean(np.square(off))))


def lap_starts(poses: list[DrivePose]) -> dict[int, float]:
    """Seconds into the drive at which each lap begins."""
    return {pose.lap: pose.stamp_s for pose in reversed(poses)}


def _path() -> np.ndarray:
    """The path as points (P, 3): x and y in metres, and the number of waypoints passed.

    Corners are cut four times at a quarter of each leg (Chaikin 1974), which gives a curve
    without kinks that no dynamics of the robot needs to be known for.
    """
    corners = (*RING, *RING[:BRANCH_AFTER], *BRANCH)
    path = np.array([(x, y, k) for k, (x, y) in enumerate(corners)])
    for _ in range(4):
        cut = np.stack([0.75 * path[:-1] + 0.25 * path[1:], 0.25 * path[:-1] + 0.75 * path[1:]], 1)
        path = np.concatenate([path[:1], cut.reshape(-1, 3), path[-1:]])
    return path


def _schedule(
    path: np.ndarray, arc: np.ndarray, second: float, third: float
) -> tuple[np.ndarray, np.ndarray]:
    """Times (s) and metres along the path: bounded acceleration and turn rate, one long stop."""
    place = np.linspace(0.0, arc[-1], round(float(arc[-1]) / 0.02))
    turn = np.abs(np.gradient(_heading(path, arc, place), place))  # rad/m
    limit = np.where(place < second, SPEED[1], np.where(place < third, SPEED[2], SPEED[3]))
    speed = np.minimum(limit, TURN_RATE / np.maximum(turn, 1e-6))
    stop = int(np.searchsorted(place, STOP_AT_M))
    speed[[0, stop, -1]] = 0.0
    gain = 2.0 * ACCELERATION * float(place[1])  # v1^2 - v0^2 over one step
    for k in range(1, len(speed)):
        speed[k] = min(speed[k], math.sqrt(speed[k - 1] ** 2 + gain))
    for k in range(len(speed) - 2, -1, -1):
        speed[k] = min(speed[k], math.sqrt(speed[k + 1] ** 2 + gain))
    when = np.concatenate([[0.0], np.cumsum(2.0 * place[1] / (speed[:-1] + speed[1:]))])
    when = np.concatenate([when[: stop + 1], when[stop:] + STOP_S])
    place = np.insert(place, stop, place[stop])
    times = np.arange(0.0, when[-1], 1.0 / ODOM_HZ)
    return times, np.interp(times, when, place)


def _heading(path: np.ndarray, arc: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Direction of the path [rad], unwrapped: that of the chord from 0.5 m behind to ahead."""
    ends = np.clip([places + 0.5, places - 0.5], 0.0, arc[-1])
    dx, dy = (np.diff(np.interp(ends, arc, path[:, axis]), axis=0)[0] for axis in (0, 1))
    return np.unwrap(np.arctan2(-dy, -dx))


def _aside(
    path: np.ndarray, arc: np.ndarray, times: np.ndarray, places: np.ndarray, second: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y (m) and unwrapped yaw (rad); from lap 2 on beside the path and turned away from it."""
    x, y = (np.interp(places, arc, path[:, axis]) for axis in (0, 1))
    heading = _heading(path, arc, places)
    beyond = np.maximum(places - second, 0.0)
    fade = np.minimum(beyond / 4.0, 1.0)  # a smooth transition over the first metres
    aside = fade * LATERAL_M * np.sin(math.tau * beyond / LATERAL_PERIOD_M)
    askew = fade * HEADING_RAD * np.sin(math.tau * beyond / HEADING_PERIOD_M)
    moving = np.minimum(np.gradient(places, times), 1.0)
    wobble = moving * (0.4 + 0.6 * fade) * WOBBLE_RAD * np.sin(math.tau * WOBBLE_HZ * times)
    return x - aside * np.sin(heading), y + aside * np.cos(heading), heading + askew + wobble
