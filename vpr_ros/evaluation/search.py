# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Exhaustive search: the best matches of every query."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

RANKS = (1, 5, 10, 20)
BLOCK = 4_000_000  # values held at once, 16 MB
NOBODY = -1


@dataclasses.dataclass(frozen=True)
class Ranked:
    """What was found for each query, best first."""

    indices: Indices  # (Q, K) in the database; NOBODY where there were fewer
    scores: Array  # (Q, K) higher is more alike; -inf where there were fewer

    @property
    def best(self) -> Indices:
        """(Q,) the first matches."""
        return self.indices[:, 0]


def search(
    queries: npt.NDArray[np.floating],
    database: npt.NDArray[np.floating],
    searchable: Indices | None = None,
    count: int = RANKS[-1],
) -> Ranked:
    """The `count` best database entries of each query, by inner product.

    `queries` (Q, D) and `database` (N, D) have unit length, so that this is the order of the
    cosine and of the Euclidean distance; rows of NaN find nothing and are not found. Query q sees
    the first searchable[q] entries, None: all. Of a database on the disk it reads one block at a
    time; besides the result it needs BLOCK scores and twice BLOCK descriptor values in float32.
    """
    indices = np.full((len(queries), count), NOBODY, np.int64)
    best = np.full((len(queries), count), -np.inf, np.float32)
    columns = max(1, BLOCK // max(1, database.shape[1]))
    for first in range(0, len(database), columns):
        places = np.asarray(database[first : first + columns], np.float32)
        numbers = np.arange(first, first + len(places))
        rows = max(1, BLOCK // max(places.shape))
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            scores = np.asarray(queries[part], np.float32) @ places.T
            scores[np.isnan(scores)] = -np.inf
            if searchable is not None:
                scores[numbers >= searchable[part, np.newaxis]] = -np.inf
            if first:
                scores = np.hstack([best[part], scores])
            found = rank(scores, count)
            best[part] = found.scores
            own = found.indices - (count if first else 0)  # below 0: found in an earlier block
            now = np.where(found.indices == NOBODY, NOBODY, own + first)
            before = np.take_along_axis(indices[part], own.clip(-count, -1), 1)
            indices[part] = np.where((own < 0) & (found.indices >= 0), before, now)
    return Ranked(indices, best)


def rank(scores: Array, count: int = RANKS[-1]) -> Ranked:
    """The `count` highest of each row (Q, N); -inf is never among them.

    Equal scores come in the order of the columns.
    """
    indices = np.full((len(scores), count), NOBODY, np.int64)
    best = np.full((len(scores), count), -np.inf, np.float32)
    if last := min(count, scores.shape[1]):
        limits = np.partition(scores, -last, axis=1)[:, -last]
        for row, (own, limit) in enumerate(zip(scores, limits, strict=True)):
            high = np.flatnonzero((own >= limit) & (own > -np.inf))
            order = high[np.argsort(-own[high], kind="stable")[:count]]
            indices[row, : len(order)], best[row, : len(order)] = order, own[order]
    return Ranked(indices, best)
