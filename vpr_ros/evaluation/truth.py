# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is a true loop: close enough in metres and degrees, or named in a list of pairs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy.spatial import KDTree

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import VprError
from vpr_ros.core.pose import Pose
from vpr_ros.evaluation.precision_recall import Floats, Judged, Mask
from vpr_ros.evaluation.search import NOBODY, Indices, Ranked

TOLERANCE_S = 0.2  # a pose farther in time from an image says nothing about it


class TruthError(VprError):
    """Ground truth is missing or cannot be read."""


@dataclasses.dataclass(frozen=True)
class LoopRule(Config):
    """When two images show the same place."""

    metres: float = param(
        3.0, "positions at most this far apart", unit="m", minimum=0.0, maximum=10_000.0
    )
    degrees: float = param(
        45.0, "and headings at most this far apart", unit="deg", minimum=0.0, maximum=180.0
    )
    frames: int = param(
        2, "with a list of pairs: images this close to the listed one", minimum=0, maximum=1000
    )


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Poses in order of time; rows of NaN where the pose is not known."""

    stamps_ns: Indices  # (N,) rising
    positions: Floats  # (N, 3) [m]
    rotations: Floats  # (N, 4) unit quaternions x y z w

    @classmethod
    def of(cls, stamps_ns: list[int], rows: Floats, source: str) -> Trajectory:
        """From `rows` (N, 7) x y z qx qy qz qw in any order; the last of equal stamps counts.

        Rows that are not finite or have no quaternion are left out; TruthError if none is left.
        """
        stamps = np.array(stamps_ns, np.int64)
        rows = np.asarray(rows, np.float64).reshape(-1, 7)
        lengths = np.linalg.norm(rows[:, 3:], axis=1)
        good = np.flatnonzero(np.isfinite(rows).all(axis=1) & (lengths > 0.5))
        if not len(good):
            raise TruthError(f"{source} holds no valid pose; give another source of ground truth.")
        order = good[np.argsort(stamps[good], kind="stable")]
        order = order[np.append(np.diff(stamps[order]) > 0, True)]
        rotations = rows[order, 3:] / lengths[order, np.newaxis]
        return cls(stamps[order], rows[order, :3], rotations)

    def at(self, stamps_ns: Indices) -> Trajectory:
        """The poses at these stamps (M,), interpolated; NaN where none is close in time."""
        known, tolerance = self.stamps_ns, int(TOLERANCE_S * 1e9)
        after = np.searchsorted(known, stamps_ns).clip(0, len(known) - 1)
        before = np.where(known[after] <= stamps_ns, after, np.maximum(after - 1, 0))
        span = known[after] - known[before]
        t = np.where(span > 0, (stamps_ns - known[before]) / np.maximum(span, 1), 0.0)
        # Over a gap in the recording nothing is invented: the nearer pose holds.
        t = np.where(span > 2 * tolerance, np.round(t), t).clip(0.0, 1.0)[:, np.newaxis]
        positions = (1 - t) * self.positions[before] + t * self.positions[after]
        first, second = self.rotations[before], self.rotations[after]
        sign = np.where((first * second).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
        rotations = (1 - t) * first + t * sign * second
        rotations /= np.linalg.norm(rotations, axis=1, keepdims=True)
        gap = np.minimum(np.abs(stamps_ns - known[before]), np.abs(known[after] - stamps_ns))
        positions[gap > tolerance], rotations[gap > tolerance] = np.nan, np.nan
        return Trajectory(stamps_ns, positions, rotations)

    def rows(self, numbers: Indices) -> Trajectory:
        """The poses with these row numbers (M,); NaN beyond the last."""
        row = np.minimum(numbers, len(self.positions))  # the last is a row of NaN
        positions, rotations = (
            np.vstack([values, np.full(values.shape[1], np.nan)])[row]
            for values in (self.positions, self.rotations)
        )
        return Trajectory(numbers, positions, rotations)

    def pose(self, index: int) -> Pose:
        """One of the poses."""
        return Pose(*map(float, (*self.positions[index], *self.rotations[index])))


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is known of every keyframe's place; keyframes are numbered from 0."""

    places: tuple[Indices, ...]  # N: the keyframes that show the same place, the nearest first
    known: Mask  # (N,) can its answer be checked?
    can_match: Mask  # (N,) can it be said whether it is a right match?
    rule: str  # what counts as the same place, in words
    describe: Callable[[int, int], str]  # how far apart two keyframes are, in words
    trajectory: Trajectory | None = None  # (N) poses to draw, if there are any
    missing: str = ""  # why nothing is known of any place

    def same(self, first: Indices, second: Indices) -> Mask:
        """(F, S) does each of the `first` keyframes show the place of each of the `second`?"""
        rows = [np.isin(second, self.places[index]) for index in first]
        return np.array(rows, bool).reshape(len(first), len(second))

    def nearest(self, limits: Indices) -> Indices:
        """The nearest true place (N,) among the keyframes before `limits` (N,), or NOBODY.

        Ties go to the older keyframe.
        """
        older = [own[own < limit] for own, limit in zip(self.places, limits, strict=True)]
        return np.array([own[0] if len(own) else NOBODY for own in older], np.int64)


def pose_truth(poses: Trajectory, rule: LoopRule) -> Truth:
    """By the true pose of every keyframe (N); NaN where not known."""
    p, q = poses.positions, poses.rotations
    known = np.asarray(np.isfinite(p).all(axis=1))
    rows = np.flatnonzero(known)
    tree, radius_m = KDTree(p[rows].reshape(-1, 3)), rule.metres + 1e-9
    # |q1 . q2| = cos(angle / 2); the slack lets a turn of exactly the limit count.
    least = math.cos(math.radians(rule.degrees) / 2) - 1e-6
    places = [np.zeros(0, np.int64)] * len(p)
    for row in rows:
        near = rows[tree.query_ball_point(p[row], radius_m, return_sorted=True)]
        near = near[np.abs(q[near] @ q[row]) >= least]
        apart = np.linalg.norm(p[near] - p[row], axis=1)
        places[row] = near[np.argsort(apart, kind="stable")]

    def describe(first: int, second: int) -> str:
        one, other = poses.pose(first), poses.pose(second)
        return f"{one.distance_m(other):.1f} m and {one.angle_deg(other):.0f}° apart"

    text = f"positions within {rule.metres:g} m, headings within {rule.degrees:g} degrees"
    return Truth(tuple(places), known, known, text, describe, poses)


def no_truth(count: int, why: str) -> Truth:
    """Of `count` keyframes nothing is known; `why`, in a sentence."""
    nothing = np.zeros(count, bool)
    places = (np.zeros(0, np.int64),) * count
    return Truth(places, nothing, nothing, "not known", lambda first, second: "", missing=why)


def pair_truth(
    numbers: Indices,
    pairs: dict[int, list[int]],
    rule: LoopRule,
    trajectory: Trajectory | None = None,
) -> Truth:
    """By a list of image numbers that show the same place.

    `numbers` (N,) of the keyframes' images; `pairs`: by query image, the right ones. The answer
    to a query with an empty list is not checked; one that is not listed has nothing to find.
    """
    places = []
    for number in numbers.tolist():
        right = np.array(pairs.get(number, ()), np.int64)
        apart = np.abs(numbers[:, np.newaxis] - right).min(axis=1, initial=rule.frames + 1)
        order = np.argsort(apart, kind="stable")
        places.append(order[apart[order] <= rule.frames])
    return Truth(
        tuple(places),
        np.array([pairs.get(number) != [] for number in numbers.tolist()], bool),
        np.ones(len(numbers), bool),
        f"the match lies within {rule.frames} images of one listed for the query",
        lambda first, second: f"images {numbers[first]} and {numbers[second]}",
        trajectory,
    )


def judge(ranked: Ranked, truth: Truth, nearest: Indices) -> Judged:
    """Hold what was found for every keyframe against the truth.

    `nearest` (N,): a true older place, or NOBODY. Recalls are shares of the keyframes that have
    one; first matches that the truth does not know are left out.
    """
    revisits = int((nearest != NOBODY).sum())
    known = truth.known & truth.can_match[ranked.best]
    return Judged.of(ranked, truth.places, revisits, revisits, known)
