# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Search results held against the truth: recalls, and precision over recall."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.search import NOBODY, Indices, Ranked

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Curve:
    """One point per distinct score: all matches at or above it are accepted."""

    threshold: Floats  # (T,) falling
    precision: Floats  # (T,)
    recall: Floats  # (T,)
    possible: int  # queries with a right answer; with none, recall and all that follows is NaN

    @property
    def recall_at_full_precision(self) -> float:
        """The largest recall with nothing wrong; 0 if the best score is already wrong."""
        if not self.possible:
            return math.nan
        return float(self.recall[self.precision == 1.0].max(initial=0.0))

    @property
    def average_precision(self) -> float:
        """Sum of (R_k - R_k-1) P_k over the thresholds, without interpolation.

        What no threshold finds counts as precision 0.
        """
        if not self.possible:
            return math.nan
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())

    @property
    def best_f1(self) -> tuple[float, float]:
        """(largest F1 = 2 P R / (P + R), its threshold); the threshold is NaN if F1 is 0."""
        if not self.possible:
            return math.nan, math.nan
        total = self.precision + self.recall
        product = 2 * self.precision * self.recall
        f1 = np.divide(product, total, np.zeros_like(total), where=total > 0)
        if not f1.max(initial=0.0) > 0:
            return 0.0, math.nan
        return float(f1.max()), float(self.threshold[f1.argmax()])


def precision_recall(scores: npt.NDArray[np.floating], right: Mask, possible: int) -> Curve:
    """Accept every best match at or above a threshold, for each distinct score.

    `scores` (N,) and `right` (N,) of the best match of each query that has one; `possible` of
    all queries have a right answer. Equal scores are accepted together, so that their order
    cannot flatter the curve.
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order].astype(np.float64), np.cumsum(right[order])
    last = np.append(scores[1:] < scores[:-1], True) if len(scores) else np.zeros(0, bool)
    accepted = np.arange(1, len(scores) + 1)[last]
    found = hits[last].astype(np.float64)
    return Curve(scores[last], found / accepted, found / max(possible, 1), possible)


@dataclasses.dataclass(frozen=True)
class Judged:
    """What was found for Q queries, held against the truth; shares are NaN without queries."""

    ranked: Ranked
    hits: Mask  # (Q, K) does the match show the place of the query?
    known: Mask  # (Q,) is there a first match, and can it be judged?
    possible: int  # queries with a right answer
    counted: int  # queries that the recalls are shares of

    @classmethod
    def of(
        cls,
        ranked: Ranked,
        right: Sequence[Indices],
        possible: int,
        counted: int,
        known: Mask | None = None,
    ) -> Judged:
        """From the `right` matches of each query; `known` (Q,): can the first be judged?"""
        pairs = zip(ranked.indices, right, strict=True)
        hits = np.array([np.isin(found, own) for found, own in pairs], bool)
        found = ranked.best != NOBODY
        known = found if known is None else found & known
        return cls(ranked, hits.reshape(ranked.indices.shape), known, possible, counted)

    def recall_at(self, k: int) -> float:
        """Share of the counted queries with a right answer among their first k."""
        found = int(self.hits[:, :k].any(axis=1).sum())
        return found / self.counted if self.counted else math.nan

    @property
    def curve(self) -> Curve:
        """By the scores of the first matches; those that cannot be judged are left out."""
        scores = self.ranked.scores[self.known, 0]
        return precision_recall(scores, self.hits[self.known, 0], self.possible)
