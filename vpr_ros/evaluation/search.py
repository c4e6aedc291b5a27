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
BLOCK = 2_000_000  # scores held at once, 8 MB
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
    cosine and of the Euclidean distance. Query q sees the first searchable[q] entries, None: all.
    Besides the result it needs BLOCK scores and the database in float32.
    """
    places = database.astype(np.float32, copy=False)
    rows = max(1, BLOCK // max(1, len(places)))
    found = [Ranked(np.zeros((0, count), np.int64), np.zeros((0, count), np.float32))]
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        limits = None if searchable is None else searchable[part]
        seen = places if limits is None else places[: max(0, limits.max())]
        scores = queries[part].astype(np.float32, copy=False) @ seen.T
        if limits is not None:
            scores[np.arange(len(seen)) >= limits[:, np.newaxis]] = -np.inf
        found.append(rank(scores, count))
    return Ranked(
        np.concatenate([part.indices for part in found]),
        np.concatenate([part.scores for part in found]),
    )


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
