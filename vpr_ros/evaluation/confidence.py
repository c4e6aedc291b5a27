# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds that reach a wanted precision, and how sure one may be of them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from vpr_ros.evaluation.precision_recall import Floats, Mask, precision_recall

MARGINS = 40  # margin thresholds tried, at quantiles of the wrong matches' margins
STRETCH = 10  # keyframes; neighbours see one place, so they are drawn together or not at all
DRAWS = 1000
FOLDS = 5
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Inclusive thresholds in cosine; a margin of 0 lets every match pass."""

    score: float
    margin: float = 0.0


@dataclasses.dataclass(frozen=True)
class Matches:
    """Best matches that the loop detector closed at any score, in order of time."""

    score: Floats  # (P,)
    margin: Floats  # (P,) infinity where no other place was among the candidates
    right: Mask  # (P,)
    keyframe: npt.NDArray[np.int64]  # (P,) number of the keyframe that asked

    def of(self, rows: npt.NDArray[np.int64] | Mask) -> Matches:
        """Some of them, also repeatedly."""
        return Matches(self.score[rows], self.margin[rows], self.right[rows], self.keyframe[rows])

    def accepted(self, thresholds: Thresholds) -> Mask:
        """Which reach both thresholds."""
        mask: Mask = (self.score >= thresholds.score) & (self.margin >= thresholds.margin)
        return mask

    def precision(self, thresholds: Thresholds) -> float:
        """Of those accepted, the share that is right; NaN if none is accepted."""
        accepted = self.accepted(thresholds)
        return float(self.right[accepted].mean()) if accepted.any() else math.nan


@dataclasses.dataclass(frozen=True)
class Interval:
    """A 95 % interval; NaN if it is not defined."""

    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan)


def choose_thresholds(matches: Matches, precision: float) -> Thresholds | None:
    """The thresholds that accept the most right matches at this precision; None if none do.

    A margin is only used where it lets more right matches in than a score alone can.
    """
    wrong = matches.margin[~matches.right & np.isfinite(matches.margin)]
    if len(wrong):
        wrong = np.quantile(wrong, np.linspace(0, 1, MARGINS), method="higher")
    best, found = None, 0
    for margin in (0.0, *sorted({float(m) + 1e-4 for m in wrong if m >= 0})):
        inside = matches.of(matches.margin >= margin)
        score, count = lowest_score(inside.score, inside.right, precision)
        if count > found:
            best, found = Thresholds(score, margin), count
    return best


def lowest_score(score: Floats, right: Mask, precision: float) -> tuple[float, int]:
    """(lowest score at and above which the precision holds, right matches there).

    (NaN, 0) if it holds nowhere. The precision must hold for all that is accepted, not for every
    higher threshold as well.
    """
    curve = precision_recall(score, right, possible=len(score))
    hits = np.rint(curve.recall * max(len(score), 1)).astype(int)
    holds = np.flatnonzero((curve.precision >= precision - 1e-9) & (hits > 0))
    if not len(holds):
        return math.nan, 0
    # Of thresholds that accept as many right ones, the one that accepts nothing wrong besides.
    end = holds[np.flatnonzero(hits[holds] == hits[holds[-1]])[0]]
    return float(curve.threshold[end]), int(hits[end])


def bootstrap(
    matches: Matches, thresholds: Thresholds, precision: float, seed: int = 0
) -> tuple[Interval, Interval]:
    """(interval of the precision at `thresholds`, of the score threshold for `precision`).

    Percentile bootstrap over blocks (Kuensch, Annals of Statistics 1989): stretches of STRETCH
    keyframes are drawn with repetition.
    """
    stretch = matches.keyframe // STRETCH
    blocks = [np.flatnonzero(stretch == k) for k in np.unique(stretch)]
    inside = matches.margin >= thresholds.margin
    generator = np.random.default_rng(seed)
    reached, scores = [], []
    for _ in range(DRAWS):
        drawn = generator.integers(0, len(blocks), len(blocks))
        rows = np.concatenate([blocks[k] for k in drawn])
        reached.append(matches.of(rows).precision(thresholds))
        chosen = rows[inside[rows]]
        scores.append(lowest_score(matches.score[chosen], matches.right[chosen], precision)[0])
    return _interval(np.array(reached)), _interval(np.array(scores))


def _interval(values: Floats) -> Interval:
    values = values[np.isfinite(values)]
    if not len(values):
        return UNDEFINED
    tail = (1 - LEVEL) / 2
    return Interval(*map(float, np.quantile(values, (tail, 1 - tail))))


def held_out(matches: Matches, precision: float, margin: float) -> tuple[int, int]:
    """(right, all) of what is accepted when the threshold comes from other parts of the drive.

    FOLDS contiguous parts; each is held against the threshold that the others give.
    """
    right = accepted = 0
    inside = matches.of(matches.margin >= margin)
    for part in np.array_split(np.arange(len(inside.score)), FOLDS):
        rest = np.setdiff1d(np.arange(len(inside.score)), part)
        score, _ = lowest_score(inside.score[rest], inside.right[rest], precision)
        passed = inside.score[part] >= score  # none if no threshold was found: NaN
        right += int(inside.right[part][passed].sum())
        accepted += int(passed.sum())
    return right, accepted


def lower_bound(right: int, total: int) -> float:
    """The least precision that `right` of `total` still allow, at 95 % confidence (one-sided).

    Clopper and Pearson (Biometrika 1934), for matches that are independent; those of neighbours
    are not.
    """
    return float(beta.ppf(1 - LEVEL, right, total - right + 1)) if right else 0.0


def needed(precision: float) -> int:
    """Right matches without a wrong one that promise this precision, at 95 % confidence."""
    if precision >= 1:
        return 0  # no number promises that nothing ever goes wrong
    return math.ceil(math.log(1 - LEVEL) / math.log(precision))
