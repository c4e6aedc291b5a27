# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The best database images of every query, found chunk by chunk, and the recalls they give."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.curve import sweep
from vpr_ros.evaluation.datasets.image_set import Indices

Array = npt.NDArray[np.float32]

RANKS = (1, 5, 10, 20)
BLOCK = 4_000_000  # scores held at once, 16 MB

NOBODY = -1


@dataclasses.dataclass(frozen=True)
class Ranked:
    """What was found for each query, best first."""

    indices: Indices  # (Q, RANKS[-1]) of database images; NOBODY where there were fewer
    scores: Array  # (Q, RANKS[-1]) higher is more alike; -inf where there were fewer


class Ranking:
    """The `RANKS[-1]` best database images of each query so far; exhaustive, by inner product.

    Descriptors have unit length, so that this is the order of the cosine and of the Euclidean
    distance. Equal scores stay in the order of the database. Memory: the queries' descriptors and
    `BLOCK` scores, however large the database is.
    """

    def __init__(self, queries: Array, searchable: Indices | None = None) -> None:
        self._queries = queries  # (Q, D)
        self._searchable = searchable
        count = len(queries)
        self._scores = np.full((count, RANKS[-1]), -np.inf, dtype=np.float32)
        self._indices = np.full((count, RANKS[-1]), NOBODY, dtype=np.int64)

    def add(self, descriptors: Array, start: int) -> None:
        """Search a chunk (C, D) of the database whose first image has the index `start`."""
        rows = max(1, BLOCK // max(1, len(descriptors)))
        for begin in range(0, len(self._queries), rows):
            part = slice(begin, begin + rows)
            scores = self._queries[part] @ descriptors.T
            if self._searchable is not None:
                index = np.arange(start, start + len(descriptors))
                scores[index >= self._searchable[part, None]] = -np.inf
            self._merge(part, scores, start)

    def ranked(self) -> Ranked:
        """The best of all that was added so far."""
        return Ranked(self._indices, self._scores)

    def _merge(self, part: slice, scores: Array, start: int) -> None:
        found, index = best(scores, RANKS[-1])
        all_scores = np.concatenate([self._scores[part], found], axis=1)
        all_indices = np.concatenate([self._indices[part], index + start], axis=1)
        all_indices[all_scores == -np.inf] = NOBODY
        # Stable, and what came earlier stands first: ties keep the order of the database.
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, : RANKS[-1]]
        self._scores[part] = np.take_along_axis(all_scores, order, axis=1)
        self._indices[part] = np.take_along_axis(all_indices, order, axis=1)


def best(scores: Array, count: int) -> tuple[Array, Indices]:
    """The `count` highest of each row (fewer if it is shorter), best first, and where they are.

    Equal scores come in the order of the columns.
    """
    count = min(count, scores.shape[1])
    index = np.argpartition(scores, -count, axis=1)[:, -count:]
    limit = np.take_along_axis(scores, index, axis=1).min(axis=1, keepdims=True)
    # Of several scores at the limit the partition takes any.
    tied = ((scores >= limit).sum(axis=1) > count) & (limit[:, 0] > -np.inf)
    for row in np.flatnonzero(tied):
        index[row] = np.argsort(-scores[row], kind="stable")[:count]
    index.sort(axis=1)
    found = np.take_along_axis(scores, index, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(index, order, axis=1)


def recalls(indices: Indices, positives: Sequence[Indices]) -> dict[int, float]:
    """R@N in percent: the share of the queries with a right image among their first N.

    Of *all* queries, also of those that have no right image, as in VPR-methods-evaluation
    (gmberton): R@N of a set with unanswerable queries cannot reach 100.
    """
    first = np.full(len(positives), RANKS[-1])
    for query, (found, right) in enumerate(zip(indices, positives, strict=True)):
        hits = np.flatnonzero(np.isin(found, right))
        if len(hits):
            first[query] = hits[0]
    return {rank: 100 * float((first < rank).mean()) for rank in RANKS}


def recall_at_full_precision(ranked: Ranked, positives: Sequence[Indices]) -> float | None:
    """Recall in percent with the lowest threshold that lets no wrong first match through.

    Of the queries that have a right image, None if none has; the first match of one that has none
    is wrong.
    """
    possible = sum(len(own) > 0 for own in positives)
    if not possible:
        return None
    found = ranked.indices[:, 0] != NOBODY
    first = zip(ranked.indices[found, 0], np.flatnonzero(found), strict=True)
    right = np.array([index in positives[query] for index, query in first], dtype=bool)
    scores = ranked.scores[found, 0].astype(np.float64)
    return 100 * sweep(scores, right, possible).recall_at_full_precision
