# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is a true loop: near enough in metres and degrees, or named in a list of pairs."""

from __future__ import annotations

import abc
import dataclasses
import math

import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.evaluation.trajectory import Trajectory

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class LoopRule(Config):
    """When two images show one place."""

    metres: float = param(
        3.0, "positions at most this far apart", unit="m", minimum=0.0, maximum=10_000.0
    )
    degrees: float = param(
        45.0, "and headings at most this far apart", unit="deg", minimum=0.0, maximum=180.0
    )
    frames: int = param(
        2, "with a list of pairs: images this close to the listed one", minimum=0, maximum=1000
    )


class Truth(abc.ABC):
    """What is known of every keyframe's place; keyframes are numbered from 0."""

    unit: str  # of a distance
    known: Mask  # (N,) keyframes that can be judged
    trajectory: Trajectory | None  # (N) poses to draw, if there are any

    @abc.abstractmethod
    def tile(self, rows: slice, columns: slice) -> Floats:
        """Distances (rows, columns) in `unit` of keyframes that show one place; else infinity."""

    @abc.abstractmethod
    def words(self, a: int, b: int) -> str:
        """How far apart two keyframes are."""

    @abc.abstractmethod
    def can_match(self, index: int) -> bool:
        """Can it be said whether this keyframe is a right match?"""

    def same(self, a: int, b: int) -> bool:
        """Do two keyframes show one place?"""
        return bool(np.isfinite(self.tile(slice(a, a + 1), slice(b, b + 1)))[0, 0])


class PoseTruth(Truth):
    """By the true pose of every keyframe."""

    unit = "m"

    def __init__(self, poses: Trajectory, rule: LoopRule) -> None:
        """`poses` of the N keyframes; NaN where not known."""
        self.trajectory = poses
        self.known = np.isfinite(poses.positions).all(axis=1)
        # Near their middle, so that the squares of map coordinates swallow no millimetres.
        middle = poses.positions[self.known].mean(axis=0) if self.known.any() else np.zeros(3)
        self._centred = poses.positions - middle
        self._squares = (self._centred**2).sum(axis=1)
        self._rule = rule
        # |q1 . q2| = cos(angle / 2); the slack lets a turn of exactly the limit count.
        self._least = math.cos(math.radians(rule.degrees) / 2) - 1e-6  # of float32

    def tile(self, rows: slice, columns: slice) -> Floats:
        """Distances [m]; infinity beyond the limits and where a pose is not known."""
        p, q = self._centred, self.trajectory.rotations
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b: one product instead of three differences.
        squares = p[rows] @ (-2.0 * p[columns].T)
        squares += self._squares[rows, None]
        squares += self._squares[None, columns]
        near = squares <= (self._rule.metres + 1e-9) ** 2  # false for NaN
        near &= np.abs(q[rows].astype(np.float32) @ q[columns].T.astype(np.float32)) >= self._least
        apart = np.full(near.shape, np.inf, np.float32)
        apart[near] = np.sqrt(np.maximum(squares[near], 0.0))
        return apart

    def can_match(self, index: int) -> bool:
        """If its pose is known."""
        return bool(self.known[index])

    def words(self, a: int, b: int) -> str:
        """In metres and degrees."""
        first, second = self.trajectory.pose(a), self.trajectory.pose(b)
        return f"{first.distance_m(second):.1f} m and {first.angle_deg(second):.0f}° apart"


class PairTruth(Truth):
    """By a list of image numbers that show one place."""

    unit = "frames"

    def __init__(
        self,
        numbers: npt.NDArray[np.int64],
        pairs: dict[int, list[int]],
        rule: LoopRule,
        trajectory: Trajectory | None = None,
    ) -> None:
        """`numbers` (N,) of the keyframes' images; `pairs`: by query image, the right ones.

        A query with an empty list is not judged; one that is not listed has nothing to find.
        """
        self.trajectory = trajectory
        self._numbers, self._pairs, self._rule = numbers, pairs, rule
        self.known = np.array([pairs.get(int(n)) != [] for n in numbers], bool)

    def tile(self, rows: slice, columns: slice) -> Floats:
        """Distances in images from the nearest right one."""
        matches = self._numbers[columns]
        apart = np.full((len(self._numbers[rows]), len(matches)), np.inf, np.float32)
        for row, query in enumerate(self._numbers[rows]):
            for right in self._pairs.get(int(query), ()):
                np.minimum(apart[row], np.abs(matches - right), out=apart[row])
        apart[apart > self._rule.frames] = np.inf
        return apart

    def can_match(self, index: int) -> bool:
        """Always: a right match is listed."""
        return True

    def words(self, a: int, b: int) -> str:
        """The image numbers."""
        return f"images {self._numbers[a]} and {self._numbers[b]}"
