# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories: wheel odometry that drifts, and how far a trajectory is off the truth."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from vpr_ros.core.pose import Pose

BIAS_DEG = 0.5  # heading that the odometry loses to one side, per metre
NOISE_DEG, SCALE = 0.3, 0.02  # standard deviations: per root metre, and of the length of the way


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
