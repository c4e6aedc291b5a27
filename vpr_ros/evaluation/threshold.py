# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lowest thresholds on score and margin that reach a wanted precision."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.curve import Floats, Mask

MARGINS = 40  # margin thresholds tried, at quantiles of the wrong matches' margins


@dataclasses.dataclass(frozen=True)
class Points:
    """Best matches that the temporal and the geometric gate would pass, in order of time."""

    score: Floats  # (P,)
    margin: Floats  # (P,) infinity where no other place was among the candidates
    right: Mask  # (P,)
    keyframe: npt.NDArray[np.int64]  # (P,) which one asked

    def of(self, rows: npt.NDArray[np.int64] | Mask) -> Points:
        """Some of them, also repeatedly."""
        return Points(self.score[rows], self.margin[rows], self.right[rows], self.keyframe[rows])

    def accepted(self, limits: Limits) -> Mask:
        """Which reach both thresholds."""
        mask: Mask = (self.score >= limits.score) & (self.margin >= limits.margin)
        return mask

    def precision(self, limits: Limits) -> float:
        """Of those accepted, the share that is right; NaN if none is accepted."""
        accepted = self.accepted(limits)
        return float(self.right[accepted].mean()) if accepted.any() else math.nan


@dataclasses.dataclass(frozen=True)
class Limits:
    """Inclusive thresholds in cosine; a margin of 0 is no gate."""

    score: float
    margin: float = 0.0


def choose_limits(points: Points, precision: float) -> Limits | None:
    """The thresholds that accept the most right matches at this precision; None if none do.

    A margin is only used where it lets more right matches in than a score alone can.
    """
    best, found = None, 0
    for margin in _margins(points):
        inside = points.of(points.margin >= margin)
        score, count = lowest_score(inside.score, inside.right, precision)
        if count > found:
            best, found = Limits(score, margin), count
    return best


def lowest_score(score: Floats, right: Mask, precision: float) -> tuple[float, int]:
    """(lowest score at and above which the precision holds, right matches there).

    (NaN, 0) if it holds nowhere. The precision must hold for all that is accepted, not for every
    higher threshold as well.
    """
    order = np.argsort(-score, kind="stable")
    sorted_score, hits = score[order], np.cumsum(right[order])
    if not len(order) or not hits[-1]:
        return math.nan, 0
    last = np.append(sorted_score[1:] < sorted_score[:-1], True)  # equal scores stand together
    accepted = np.arange(1, len(order) + 1)
    holds = np.flatnonzero(last & (hits >= precision * accepted - 1e-9) & (hits > 0))
    if not len(holds):
        return math.nan, 0
    # Of thresholds that accept as many right ones, the one that accepts nothing wrong besides.
    end = holds[np.flatnonzero(hits[holds] == hits[holds[-1]])[0]]
    return float(sorted_score[end]), int(hits[end])


def _margins(points: Points) -> list[float]:
    """Thresholds worth trying: none, and just above margins of wrong matches."""
    wrong = points.margin[~points.right & np.isfinite(points.margin)]
    if not len(wrong):
        return [0.0]
    tried = np.quantile(wrong, np.linspace(0, 1, MARGINS), method="higher")
    return [0.0, *sorted({float(m) + 1e-4 for m in tried if m >= 0})]
