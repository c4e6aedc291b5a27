# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Exhaustive search: the best matches of every query, found chunk by chunk, and their recalls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.image_set import Indices
from vpr_ros.evaluation.precision_recall import precision_recall

Array = npt.NDArray[np.float32]

RANKS = (1, 5, 10, 20)
ROWS, COLUMNS = 512, 4096  # of a block of scores
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


class Ranking:
    """The `count` best database entries of each query so far; exhaustive, by inner product.

    Descriptors have unit length, so that this is the order of the cosine and of the Euclidean
    distance. Equal scores stay in the order of the database. Memory: the queries' descriptors and
    ROWS x chunk scores, however large the database is.
    """

    def __init__(
        self, queries: Array, searchable: Indices | None = None, count: int = RANKS[-1]
    ) -> None:
        """`queries` (Q, D); query q sees the first searchable[q] entries, None: all."""
        self._queries, self._searchable, self._count = queries, searchable, count
        self._scores = np.full((len(queries), count), -np.inf, dtype=np.float32)
        self._indices = np.full((len(queries), count), NOBODY, dtype=np.int64)

    def add(self, descriptors: Array, start: int) -> None:
        """Search a chunk (C, D) of the database whose first entry has the index `start`."""
        for begin in range(0, len(self._queries), ROWS):
            part = slice(begin, begin + ROWS)
            scores = self._queries[part] @ descriptors.T
            if self._searchable is not None:
                index = np.arange(start, start + len(descriptors))
                scores[index >= self._searchable[part, None]] = -np.inf
            self._merge(part, scores, start)

    def ranked(self) -> Ranked:
        """The best of all that was added so far."""
        return Ranked(self._indices, self._scores)

    def _merge(self, part: slice, scores: Array, start: int) -> None:
        found, index = best(scores, self._count)
        all_scores = np.concatenate([self._scores[part], found], axis=1)
        all_indices = np.concatenate([self._indices[part], index + start], axis=1)
        all_indices[all_scores == -np.inf] = NOBODY
        # Stable, and what came earlier stands first: ties keep the order of the database.
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, : self._count]
        self._scores[part] = np.take_along_axis(all_scores, order, axis=1)
        self._indices[part] = np.take_along_axis(all_indices, order, axis=1)


def search_older(
    descriptors: npt.NDArray[np.floating], first_recent: Indices, count: int = 10
) -> Ranked:
    """The best older keyframes of every keyframe: those before its `first_recent` (N,).

    `descriptors` (N, D) of unit length. Besides the result it needs blocks of ROWS x COLUMNS
    scores and ROWS + COLUMNS descriptors in float32, whatever N is.
    """
    total = len(descriptors)
    found = [Ranked(np.zeros((0, count), np.int64), np.zeros((0, count), np.float32))]
    for start in range(0, total, ROWS):
        rows = slice(start, start + ROWS)
        ranking = Ranking(descriptors[rows].astype(np.float32), first_recent[rows], count)
        for begin in range(0, int(first_recent[rows].max()), COLUMNS):
            ranking.add(descriptors[begin : begin + COLUMNS].astype(np.float32), begin)
        found.append(ranking.ranked())
    return Ranked(
        np.concatenate([part.indices for part in found]),
        np.concatenate([part.scores for part in found]),
    )


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

    Of *all* queries, those without a right image included, as in VPR-methods-evaluation
    (gmberton): R@N of a set with unanswerable queries cannot reach 100.
    """
    first = np.full(len(positives), RANKS[-1])
    for query, (found, right) in enumerate(zip(indices, positives, strict=True)):
        hits = np.flatnonzero(np.isin(found, right))
        if len(hits):
            first[query] = hits[0]
    return {rank: 100 * float((first < rank).mean()) for rank in RANKS}


def recall_at_full_precision(ranked: Ranked, positives: Sequence[Indices]) -> float | None:
    """Recall in percent at the lowest threshold that lets no wrong first match through.

    Of the queries that have a right image, None if none has; the first match of one that has none
    is wrong.
    """
    possible = sum(len(own) > 0 for own in positives)
    if not possible:
        return None
    found = np.flatnonzero(ranked.best != NOBODY)
    right = np.array([int(ranked.best[q]) in positives[int(q)] for q in found], dtype=np.bool_)
    curve = precision_recall(ranked.scores[found, 0], right, possible)
    return 100 * curve.recall_at_full_precision
