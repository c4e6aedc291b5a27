# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a perfect memory would find for every keyframe, in tiles of bounded memory."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.truth import Truth

Floats = npt.NDArray[np.float32]
ROWS, COLUMNS = 512, 4096  # of a tile
# Bytes of a tile at its largest: similarities, distances with two temporaries in float64,
# rotations, masks, and the sort. tracemalloc in the tests holds it to that.
TILE_BYTES = ROWS * COLUMNS * 64


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The exhaustive search over older keyframes, without a bound on their number."""

    nearest: npt.NDArray[np.int64]  # (N,) the nearest true older keyframe, -1 if there is none
    right: npt.NDArray[np.bool_]  # (N, K) is the k-th best match right?
    best: npt.NDArray[np.int64]  # (N,) the best match, -1 if there is none
    score: Floats  # (N,) of the best match, -inf if there is none
    took_s: float

    @property
    def revisits(self) -> npt.NDArray[np.bool_]:
        """(N,) keyframes that have a true older place."""
        mask: npt.NDArray[np.bool_] = self.nearest >= 0
        return mask

    def recall_at(self, k: int) -> float:
        """Share of the revisits with a right place among the best k; NaN without revisits."""
        found = self.right[self.revisits, :k].any(axis=1)
        return float(found.mean()) if len(found) else float("nan")


def find_neighbours(
    descriptors: npt.NDArray[np.floating],
    first_recent: npt.NDArray[np.int64],
    truth: Truth,
    count: int = 10,
) -> Neighbours:
    """Search every keyframe among those before `first_recent` (N,) and look up the truth.

    `descriptors` (N, D) of unit length. Besides these and the result it uses about TILE_BYTES
    and `ROWS + COLUMNS` descriptors in float32, whatever N is. Ties go to the older keyframe.
    """
    started = time.perf_counter()
    total = len(descriptors)
    nearest = np.full(total, -1, np.int64)
    right = np.zeros((total, count), bool)
    best = np.full(total, -1, np.int64)
    score = np.full(total, -np.inf, np.float32)
    for start in range(0, total, ROWS):
        rows = slice(start, min(start + ROWS, total))
        block = _Block(descriptors[rows].astype(np.float32), first_recent[rows], count)
        end = int(first_recent[rows].max())
        for begin in range(0, end, COLUMNS):
            columns = slice(begin, min(begin + COLUMNS, end))
            older = descriptors[columns].astype(np.float32)
            block.add(begin, older, truth.tile(rows, columns))
        nearest[rows], right[rows] = block.nearest, block.right
        best[rows], score[rows] = block.best, block.score
    nearest[~truth.known] = -1
    return Neighbours(nearest, right, best, score, time.perf_counter() - started)


class _Block:
    """The best of some queries so far, tile after tile."""

    def __init__(self, queries: Floats, limits: npt.NDArray[np.int64], count: int) -> None:
        size = len(queries)
        self.queries, self.limits, self.count = queries, limits, count
        self.nearest = np.full(size, -1, np.int64)
        self.right = np.zeros((size, count), bool)
        self._apart = np.full(size, np.inf, np.float32)
        self._scores = np.full((size, count), -np.inf, np.float32)
        self.best = np.full(size, -1, np.int64)

    @property
    def score(self) -> Floats:
        """(R,) of the best."""
        return self._scores[:, 0]

    def add(self, begin: int, descriptors: Floats, distances: Floats) -> None:
        """Take the older keyframes from `begin` on: descriptors (C, D), distances (R, C)."""
        width = len(descriptors)
        fresh = np.arange(begin, begin + width)[np.newaxis] >= self.limits[:, np.newaxis]
        distances[fresh] = np.inf
        closest = distances.argmin(axis=1)
        least = distances[np.arange(len(closest)), closest]
        better = least < self._apart
        self.nearest[better], self._apart[better] = begin + closest[better], least[better]

        tile = self.queries @ descriptors.T
        tile[fresh] = -np.inf
        chosen, found = _above(tile, self._scores[:, -1], self.count)
        scores = np.hstack([self._scores, found])
        hits = np.isfinite(np.take_along_axis(distances, chosen, 1)) & (found > -np.inf)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.count]
        first = order[:, 0] - self.count  # below 0: the best so far stays the best
        new = np.flatnonzero((first >= 0) & (scores[np.arange(len(first)), order[:, 0]] > -np.inf))
        self.best[new] = begin + chosen[new, first[new]]
        self._scores = np.take_along_axis(scores, order, 1)
        self.right = np.take_along_axis(np.hstack([self.right, hits]), order, 1)


def _above(tile: Floats, least: Floats, count: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Columns (R, W), rising, and values of all of a row that may belong to its best `count`.

    Those that exceed `least` (R,), the worst of the best so far: few, once some tiles are done.
    Columns of a row with fewer than W are filled up with 0 and values of -inf.
    """
    rows, columns = np.nonzero(tile > least[:, np.newaxis])
    if len(rows) > count * len(tile):
        chosen = _largest(tile, count)
        return chosen, np.take_along_axis(tile, chosen, 1)
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)  # within the row
    width = int(place.max(initial=-1)) + 1
    chosen = np.zeros((len(tile), width), np.int64)
    values = np.full((len(tile), width), -np.inf, np.float32)
    chosen[rows, place], values[rows, place] = columns, tile[rows, columns]
    return chosen, values


def _largest(tile: Floats, count: int) -> npt.NDArray[np.int64]:
    """Columns (R, count or less) of the largest values of each row, rising."""
    size, width = tile.shape
    if width <= count:
        return np.broadcast_to(np.arange(width), (size, width))
    return np.sort(np.argpartition(-tile, count - 1, axis=1)[:, :count], axis=1)
