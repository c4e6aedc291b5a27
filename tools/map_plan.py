# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The floor plan of a ViZDoom map: where a camera can stand, and what hides what."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

ROOM_UNITS = 56.0  # a player's height; a lower gap is a wall, such as a closed door

Points = npt.NDArray[np.float64]  # (N, 2) map units


class MapPlan:
    """Walls and floors as arrays, made of the sectors of a ViZDoom state."""

    def __init__(self, sectors: list[Any]) -> None:
        open_ = [s for s in sectors if s.lines and s.ceiling_height - s.floor_height >= ROOM_UNITS]
        lines = [(line.x1, line.y1, line.x2, line.y2) for s in open_ for line in s.lines]
        self._lines = np.array(lines, np.float64).reshape(-1, 4)
        self._starts = np.cumsum([0, *(len(s.lines) for s in open_)])[:-1]  # first of each sector
        self._floor = np.array([s.floor_height for s in open_])
        # One can see through a line between two open sectors; all others are walls.
        sides = Counter(_key(line) for line in lines)
        blocking = [line.is_blocking for s in open_ for line in s.lines]
        wall = [b or sides[_key(line)] < 2 for line, b in zip(lines, blocking, strict=True)]
        self._walls = self._lines[np.array(wall, bool)]

    @property
    def bounds(self) -> tuple[Points, Points]:
        """The lowest and the highest corner, each (2,)."""
        corners = self._lines.reshape(-1, 2)
        return corners.min(axis=0), corners.max(axis=0)

    def floor_at(self, points: Points) -> npt.NDArray[np.float64]:
        """Height of the floor (N,), NaN where nobody can stand.

        A point is in a sector if a ray from it crosses the sector's lines an odd number of times.
        """
        x, y = points[:, :1], points[:, 1:]
        x1, y1, x2, y2 = self._lines.T
        spans = (y1 > y) != (y2 > y)  # (N, L)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = spans & (x < x1 + (y - y1) / (y2 - y1) * (x2 - x1))
        inside = np.add.reduceat(crossing, self._starts, axis=1, dtype=np.int64) % 2 == 1
        floor = np.where(inside.any(axis=1), self._floor[inside.argmax(axis=1)], np.nan)
        return np.asarray(floor, np.float64)

    def clearance(self, points: Points) -> npt.NDArray[np.float64]:
        """Distance to the nearest wall (N,), map units."""
        first, second = self._walls[:, :2], self._walls[:, 2:]
        along = second - first  # (W, 2)
        offset = points[:, None] - first  # (N, W, 2)
        length2 = np.maximum((along**2).sum(axis=1), 1e-9)
        part = np.clip((offset * along).sum(axis=2) / length2, 0.0, 1.0)
        gap = np.linalg.norm(offset - part[:, :, None] * along, axis=2)
        return np.asarray(gap.min(axis=1), np.float64)

    def free_share(self, start: Points, ends: Points) -> npt.NDArray[np.float64]:
        """How far each line from `start` (2,) to `ends` (N, 2) runs before a wall, 0 to 1."""
        way = ends - start  # (N, 2)
        first, along = self._walls[:, :2], self._walls[:, 2:] - self._walls[:, :2]
        offset = first - start  # (W, 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossed = _cross(way[:, None], along[None])  # (N, W)
            where = _cross(offset, along)[None] / crossed
            on_wall = _cross(offset[None], way[:, None]) / crossed
        hit = (where >= 0) & (where <= 1) & (on_wall >= 0) & (on_wall <= 1)
        return np.asarray(np.where(hit, where, 1.0).min(axis=1), np.float64)


def _key(line: tuple[float, float, float, float]) -> tuple[tuple[float, float], ...]:
    return tuple(sorted((line[:2], line[2:])))


def _cross(a: Points, b: Points) -> npt.NDArray[np.float64]:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], np.float64)
