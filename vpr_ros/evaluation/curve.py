# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Precision over recall while a score threshold falls, and the numbers read from it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Curve:
    """One point for each distinct score: everything at or above it is accepted."""

    threshold: Floats  # (T,) falling
    precision: Floats  # (T,)
    recall: Floats  # (T,)
    possible: int  # revisits; with none, recall and all that follows from it is NaN

    @property
    def recall_at_full_precision(self) -> float:
        """The largest recall at which nothing is wrong; 0 if the best score already is."""
        if not self.possible:
            return math.nan
        return float(self.recall[self.precision == 1.0].max(initial=0.0))

    @property
    def average_precision(self) -> float:
        """Sum of (R_k - R_k-1) P_k over the thresholds: no interpolation.

        What is never found, however low the threshold, counts as precision 0.
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
        f1 = np.divide(
            2 * self.precision * self.recall, total, np.zeros_like(total), where=total > 0
        )
        if not f1.max(initial=0.0) > 0:
            return 0.0, math.nan
        return float(f1.max()), float(self.threshold[f1.argmax()])


def sweep(scores: Floats, right: Mask, possible: int) -> Curve:
    """Accept every best match at or above a threshold, for each distinct score.

    `scores` (N,) and `right` (N,) of the best match of each query that has one; `possible` of
    all queries have a right answer. Equal scores are accepted together, so that no order among
    them can flatter the curve.
    """
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(right[order])
    last = np.append(scores[1:] < scores[:-1], True) if len(scores) else np.zeros(0, bool)
    accepted = np.arange(1, len(scores) + 1)[last]
    found = hits[last].astype(np.float64)
    return Curve(scores[last], found / accepted, found / max(possible, 1), possible)
