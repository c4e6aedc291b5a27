# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is a true loop: close enough in metres and degrees, or named in a list of pairs."""

from __future__ import annotations

import abc
import dataclasses
import math

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
        known = (numbers < len(self.positions))[:, np.newaxis]
        row = np.where(known[:, 0], numbers, 0)
        return Trajectory(
            numbers,
            np.where(known, self.positions[row], np.nan),
            np.where(known, self.rotations[row], np.nan),
        )

    def pose(self, index: int) -> Pose:
        """One of the poses."""
        return Pose(*map(float, (*self.positions[index], *self.rotations[index])))


class Truth(abc.ABC):
    """What is known of every keyframe's place; keyframes are numbered from 0."""

    known: Mask  # (N,) can its answer be checked?
    can_match: Mask  # (N,) can it be said whether it is a right match?
    trajectory: Trajectory | None  # (N) poses to draw, if there are any

    @abc.abstractmethod
    def apart(self, first: Indices, second: Indices) -> Floats:
        """Distances (metres or frames) between keyframes of one place, else infinity.

        The shapes of `first` and `second`, numbers of keyframes, are broadcast.
        """

    def same(self, first: Indices, second: Indices) -> Mask:
        """Does each pair of keyframes show the same place? The shapes are broadcast."""
        return np.asarray(np.isfinite(self.apart(first, second)))

    @abc.abstractmethod
    def near(self, index: int, end: int) -> Indices:
        """Those of the first `end` keyframes that may show the place of this one, rising."""

    @abc.abstractmethod
    def describe(self, first: int, second: int) -> str:
        """How far apart two keyframes are, in words."""


class PoseTruth(Truth):
    """By the true pose of every keyframe."""

    def __init__(self, poses: Trajectory, rule: LoopRule) -> None:
        """`poses` of the N keyframes; NaN where not known."""
        self.trajectory: Trajectory = poses
        self.known = np.asarray(np.isfinite(poses.positions).all(axis=1))
        self.can_match = self.known
        self._rule = rule
        self._rows = np.flatnonzero(self.known)
        self._tree = KDTree(poses.positions[self._rows].reshape(-1, 3))

    def apart(self, first: Indices, second: Indices) -> Floats:
        """Distances [m]; infinity beyond the limits and where a pose is not known."""
        first, second = np.broadcast_arrays(first, second)
        p, q = self.trajectory.positions, self.trajectory.rotations
        apart = np.asarray(np.linalg.norm(p[first] - p[second], axis=-1))
        near = np.asarray(apart <= self._rule.metres + 1e-9)  # false for NaN
        # |q1 . q2| = cos(angle / 2); the slack lets a turn of exactly the limit count.
        cosine = np.abs((q[first[near]] * q[second[near]]).sum(axis=-1))
        facing = cosine >= math.cos(math.radians(self._rule.degrees) / 2) - 1e-6
        found = np.full(apart.shape, np.inf)
        found[near] = np.where(facing, apart[near], np.inf)
        return found

    def near(self, index: int, end: int) -> Indices:
        """Within the radius, whatever the heading."""
        position, radius = self.trajectory.positions[index], self._rule.metres + 1e-9
        found = self._rows[self._tree.query_ball_point(position, radius, return_sorted=True)]
        return np.asarray(found[found < end])

    def describe(self, first: int, second: int) -> str:
        """In metres and degrees."""
        one, other = self.trajectory.pose(first), self.trajectory.pose(second)
        return f"{one.distance_m(other):.1f} m and {one.angle_deg(other):.0f}° apart"


class PairTruth(Truth):
    """By a list of image numbers that show the same place."""

    def __init__(
        self,
        numbers: Indices,
        pairs: dict[int, list[int]],
        rule: LoopRule,
        trajectory: Trajectory | None = None,
    ) -> None:
        """`numbers` (N,) of the keyframes' images; `pairs`: by query image, the right ones.

        The answer to a query with an empty list is not checked; a query that is not listed has
        nothing to find.
        """
        self.trajectory = trajectory
        self._numbers, self._pairs, self._frames = numbers, pairs, rule.frames
        self.known = np.array([pairs.get(int(n)) != [] for n in numbers], bool)
        self.can_match = np.ones(len(numbers), bool)

    def apart(self, first: Indices, second: Indices) -> Floats:
        """Distances in images from the nearest right one."""
        first, second = np.broadcast_arrays(first, second)
        apart = np.full(first.shape, np.inf)
        for query in np.unique(first):
            rows = first == query
            matches = self._numbers[second[rows]]
            for right in self._pairs.get(int(self._numbers[query]), ()):
                apart[rows] = np.minimum(apart[rows], np.abs(matches - right))
        apart[apart > self._frames] = np.inf
        return apart

    def near(self, index: int, end: int) -> Indices:
        """All, if the list names a right image."""
        return np.arange(end if self._pairs.get(int(self._numbers[index])) else 0)

    def describe(self, first: int, second: int) -> str:
        """The image numbers."""
        return f"images {self._numbers[first]} and {self._numbers[second]}"


def nearest_true(truth: Truth, first_recent: Indices) -> Indices:
    """The nearest true place (N,) among the keyframes before `first_recent` (N,), or NOBODY.

    Ties go to the older keyframe.
    """
    nearest = np.full(len(first_recent), NOBODY, np.int64)
    for index in np.flatnonzero(truth.known & (first_recent > 0)):
        places = truth.near(int(index), int(first_recent[index]))
        if len(places):
            apart = truth.apart(np.array(index), places)
            closest = apart.argmin()
            nearest[index] = places[closest] if np.isfinite(apart[closest]) else NOBODY
    return nearest


def judge(ranked: Ranked, truth: Truth, nearest: Indices) -> Judged:
    """Hold what was found for every keyframe against the truth.

    `nearest` (N,): a true older place, or NOBODY. Recalls are shares of the keyframes that have
    one; first matches that the truth does not know are left out.
    """
    found = ranked.indices
    hits = truth.same(np.arange(len(found))[:, np.newaxis], found) & (found != NOBODY)
    known = (ranked.best != NOBODY) & truth.known & truth.can_match[ranked.best]
    revisits = int((nearest != NOBODY).sum())
    return Judged(ranked, hits, known, revisits, revisits)
