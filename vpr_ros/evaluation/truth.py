# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is a true loop: close enough in metres and degrees, or named in a list of pairs."""

from __future__ import annotations

import abc
import dataclasses
import math

import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import VprError
from vpr_ros.core.pose import Pose

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
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

    unit: str  # of a distance
    known: Mask  # (N,) can its answer be checked?
    can_match: Mask  # (N,) can it be said whether it is a right match?
    trajectory: Trajectory | None  # (N) poses to draw, if there are any

    @abc.abstractmethod
    def distances(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """Distances (rows, columns) in `unit` between keyframes of one place; else infinity."""

    @abc.abstractmethod
    def same(self, first: Indices, second: Indices) -> Mask:
        """Does each pair of keyframes show the same place? The shapes are broadcast."""

    @abc.abstractmethod
    def describe(self, first: int, second: int) -> str:
        """How far apart two keyframes are, in words."""


class PoseTruth(Truth):
    """By the true pose of every keyframe."""

    unit = "m"

    def __init__(self, poses: Trajectory, rule: LoopRule) -> None:
        """`poses` of the N keyframes; NaN where not known."""
        self.trajectory: Trajectory = poses
        self.known = self.can_match = np.isfinite(poses.positions).all(axis=1)
        # Near their middle, so that the squares of map coordinates swallow no millimetres.
        middle = poses.positions[self.known].mean(axis=0) if self.known.any() else np.zeros(3)
        self._centred = poses.positions - middle
        self._squares = (self._centred**2).sum(axis=1)
        self._limit_m = rule.metres + 1e-9
        # |q1 . q2| = cos(angle / 2); the slack of float32 lets a turn of exactly the limit count.
        self._least = math.cos(math.radians(rule.degrees) / 2) - 1e-6

    def distances(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """Distances [m]; infinity beyond the limits and where a pose is not known."""
        p, q = self._centred, self.trajectory.rotations.astype(np.float32)
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b: one product instead of three differences.
        squares = p[rows] @ (-2.0 * p[columns].T)
        squares += self._squares[rows, None]
        squares += self._squares[None, columns]
        facing = np.abs(q[rows] @ q[columns].T) >= self._least
        near = np.asarray(squares <= self._limit_m**2) & facing  # false for NaN
        apart = np.full(near.shape, np.inf, np.float32)
        apart[near] = np.sqrt(np.maximum(squares[near], 0.0))
        return apart

    def same(self, first: Indices, second: Indices) -> Mask:
        """By distance and heading; False where a pose is not known."""
        p, q = self._centred, self.trajectory.rotations
        near = np.linalg.norm(p[first] - p[second], axis=-1) <= self._limit_m
        facing = np.abs((q[first] * q[second]).sum(axis=-1)) >= self._least
        return np.asarray(near & facing)

    def describe(self, first: int, second: int) -> str:
        """In metres and degrees."""
        one, other = self.trajectory.pose(first), self.trajectory.pose(second)
        return f"{one.distance_m(other):.1f} m and {one.angle_deg(other):.0f}° apart"


class PairTruth(Truth):
    """By a list of image numbers that show the same place."""

    unit = "frames"

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

    def distances(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """Distances in images from the nearest right one."""
        queries = self._numbers[rows]
        apart = [self._apart(int(query), self._numbers[columns]) for query in queries]
        return np.array(apart, np.float32).reshape(len(queries), -1)

    def same(self, first: Indices, second: Indices) -> Mask:
        """By the list."""
        first, second = np.broadcast_arrays(first, second)
        pairs = zip(self._numbers[first].flat, self._numbers[second].flat, strict=True)
        found = [np.isfinite(self._apart(int(a), np.array([b])))[0] for a, b in pairs]
        return np.array(found, bool).reshape(first.shape)

    def describe(self, first: int, second: int) -> str:
        """The image numbers."""
        return f"images {self._numbers[first]} and {self._numbers[second]}"

    def _apart(self, query: int, matches: Indices) -> npt.NDArray[np.float32]:
        apart = np.full(len(matches), np.inf, np.float32)
        for right in self._pairs.get(query, ()):
            np.minimum(apart, np.abs(matches - right), out=apart)
        apart[apart > self._frames] = np.inf
        return apart


def nearest_true(truth: Truth, first_recent: Indices, rows: int, columns: int) -> Indices:
    """The nearest true place (N,) among the keyframes before `first_recent` (N,); -1: none.

    Looked up in tiles of `rows` x `columns` distances. Ties go to the older keyframe.
    """
    total = len(first_recent)
    nearest, least = np.full(total, -1, np.int64), np.full(total, np.inf, np.float32)
    for start in range(0, total, rows):
        part = slice(start, min(start + rows, total))
        for begin in range(0, int(first_recent[part].max()), columns):
            apart = truth.distances(part, slice(begin, min(begin + columns, total)))
            index = np.arange(begin, begin + apart.shape[1])
            apart[index >= first_recent[part, np.newaxis]] = np.inf
            closest = apart.argmin(axis=1)
            found = apart[np.arange(len(closest)), closest]
            better = np.flatnonzero(found < least[part])
            nearest[start + better], least[start + better] = begin + closest[better], found[better]
    nearest[~truth.known] = -1
    return nearest
