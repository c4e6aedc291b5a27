# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the camera truly was: poses by stamp, asked for many stamps at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import VprError
from vpr_ros.core.pose import Pose

Floats = npt.NDArray[np.float64]
TOLERANCE_S = 0.2  # a pose farther in time from an image says nothing about it


class TruthError(VprError):
    """Ground truth is missing or cannot be read."""


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Poses in order of time; rows of NaN where the pose is not known."""

    stamps_ns: npt.NDArray[np.int64]  # (N,) rising
    positions: Floats  # (N, 3) [m]
    rotations: Floats  # (N, 4) unit quaternions x y z w

    @classmethod
    def of(cls, stamps_ns: list[int], rows: Floats, source: str) -> Trajectory:
        """From `rows` (N, 7) x y z qx qy qz qw in any order; the last of equal stamps counts.

        Raises TruthError if no row is finite with a quaternion; those that are not are left out.
        """
        stamps = np.array(stamps_ns, np.int64)
        rows = np.asarray(rows, np.float64).reshape(-1, 7)
        lengths = np.linalg.norm(rows[:, 3:], axis=1)
        good = np.isfinite(rows).all(axis=1) & (lengths > 0.5)
        if not good.any():
            raise TruthError(f"{source} holds no valid pose; give another source of ground truth.")
        stamps, rows = stamps[good], rows[good]
        order = np.argsort(stamps, kind="stable")
        stamps, rows = stamps[order], rows[order]
        last = np.append(stamps[1:] > stamps[:-1], True)
        stamps, rows = stamps[last], rows[last]
        rotations = rows[:, 3:] / np.linalg.norm(rows[:, 3:], axis=1, keepdims=True)
        return cls(stamps, rows[:, :3], rotations)

    def at(self, stamps_ns: npt.NDArray[np.int64]) -> Trajectory:
        """The poses at these stamps (M,), interpolated; NaN where none is near in time."""
        known, tolerance = self.stamps_ns, int(TOLERANCE_S * 1e9)
        after = np.searchsorted(known, stamps_ns).clip(0, len(known) - 1)
        before = np.where(known[after] <= stamps_ns, after, np.maximum(after - 1, 0))
        gap_before = np.abs(stamps_ns - known[before])
        gap_after = np.abs(known[after] - stamps_ns)
        span = known[after] - known[before]
        t = np.where(span > 0, (stamps_ns - known[before]) / np.maximum(span, 1), 0.0)
        # Over a gap in the recording nothing is invented: the nearer pose holds.
        t = np.where(span > 2 * tolerance, np.round(t), t).clip(0.0, 1.0)[:, np.newaxis]
        positions = (1 - t) * self.positions[before] + t * self.positions[after]
        first, second = self.rotations[before], self.rotations[after]
        sign = np.where((first * second).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
        rotations = (1 - t) * first + t * sign * second
        rotations /= np.linalg.norm(rotations, axis=1, keepdims=True)
        lost = np.minimum(gap_before, gap_after) > tolerance
        positions[lost], rotations[lost] = np.nan, np.nan
        return Trajectory(stamps_ns, positions, rotations)

    def pose(self, index: int) -> Pose:
        """One of the poses as the core's."""
        return Pose(*map(float, (*self.positions[index], *self.rotations[index])))
