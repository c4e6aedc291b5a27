# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How sure one may be: bootstrap over stretches of the drive, an exact bound, a logistic fit."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.curve import Floats, Mask
from vpr_ros.evaluation.threshold import Limits, Points, lowest_score

STRETCH = 10  # keyframes; neighbours see one place, so they are drawn together or not at all
DRAWS = 1000
FOLDS = 5
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A 95 % interval; NaN if it is not defined."""

    low: float
    high: float


def bootstrap(
    points: Points, limits: Limits, precision: float, seed: int = 0
) -> tuple[Interval, Interval]:
    """(interval of the precision at `limits`, interval of the score threshold for `precision`).

    Percentile bootstrap over blocks (Kuensch, Annals of Statistics 1989): stretches of STRETCH
    keyframes are drawn with repetition.
    """
    blocks = _blocks(points)
    inside = points.margin >= limits.margin
    generator = np.random.default_rng(seed)
    reached, scores = [], []
    for _ in range(DRAWS):
        drawn = generator.integers(0, len(blocks), len(blocks))
        rows = np.concatenate([blocks[k] for k in drawn])
        reached.append(points.of(rows).precision(limits))
        chosen = rows[inside[rows]]
        scores.append(lowest_score(points.score[chosen], points.right[chosen], precision)[0])
    return _interval(np.array(reached)), _interval(np.array(scores))


def held_out(points: Points, precision: float, margin: float) -> tuple[int, int]:
    """(right, all) of what is accepted when the threshold comes from other parts of the drive.

    FOLDS contiguous parts; each is judged with the threshold that the others give.
    """
    right = accepted = 0
    inside = points.of(points.margin >= margin)
    for part in np.array_split(np.arange(len(inside.score)), FOLDS):
        rest = np.setdiff1d(np.arange(len(inside.score)), part)
        score, _ = lowest_score(inside.score[rest], inside.right[rest], precision)
        passed = inside.score[part] >= score  # none if no threshold was found: NaN
        right += int(inside.right[part][passed].sum())
        accepted += int(passed.sum())
    return right, accepted


def lower_bound(right: int, total: int) -> float:
    """The least precision that `right` of `total` still allow, at 95 % confidence (one-sided).

    Clopper and Pearson (Biometrika 1934): the p at which so many or more right ones have a
    probability of 5 %. For matches that are independent; those of neighbours are not.
    """
    if right == 0:
        return 0.0
    counts = np.arange(right, total + 1)
    ways = np.array([math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
                     for k in counts])  # fmt: skip
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        logs = ways + counts * math.log(p) + (total - counts) * math.log1p(-p)
        if np.exp(logs).sum() < 1 - LEVEL:
            low = p
        else:
            high = p
    return low


def needed(precision: float) -> int:
    """Right matches without a wrong one that promise this precision, at 95 % confidence."""
    if precision >= 1:
        return 0  # no number promises never to err
    return math.ceil(math.log(1 - LEVEL) / math.log(precision))


def fit_logistic(score: Floats, right: Mask) -> tuple[float, float]:
    """(slope, offset) of P(right) = sigmoid(slope * score + offset); slope >= 0.

    Maximum likelihood with Platt's targets (1999; Lin, Lin and Weng, Machine Learning 2007):
    (n + 1) / (n + 2) for right, 1 / (m + 2) for wrong, so that a bag without a mistake does not
    yield certainty. (NaN, NaN) without any match.
    """
    if not len(score):
        return math.nan, math.nan
    positive, negative = int(right.sum()), int((~right).sum())
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = float(score.mean()), float(score.std()) or 1.0
    x = np.stack([(score - centre) / spread, np.ones(len(score))], 1)
    w = np.array([0.0, 0.0])
    for _ in range(100):  # Newton; the ridge keeps a perfect separation finite
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        ridge = np.diag([1e-3, 0.0])
        step = np.linalg.solve(
            (x * (p * (1 - p))[:, np.newaxis]).T @ x + ridge + 1e-9 * np.eye(2),
            x.T @ (p - target) + ridge @ w,
        )
        w -= step
        if np.abs(step).max() < 1e-9:
            break
    slope = w[0] / spread
    if slope < 0:  # the score says nothing here: the share of right ones, whatever it is
        share = target.mean()
        return 0.0, float(math.log(share / (1 - share)))
    return float(slope), float(w[1] - slope * centre)


def _blocks(points: Points) -> list[npt.NDArray[np.int64]]:
    """Rows of the points by stretch of keyframes."""
    stretch = points.keyframe // STRETCH
    return [np.flatnonzero(stretch == k) for k in np.unique(stretch)]


def _interval(values: Floats) -> Interval:
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(math.nan, math.nan)
    tail = (1 - LEVEL) / 2
    return Interval(*map(float, np.quantile(values, (tail, 1 - tail))))
