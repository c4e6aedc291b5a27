# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How sure one may be of a precision that was measured on a bag."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from vpr_ros.evaluation.precision_recall import Floats, Mask

STRETCH = 10  # keyframes; neighbours see one place, so they are drawn together or not at all
DRAWS = 1000
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Closures:
    """Loop closures that were judged."""

    confidence: Floats  # (C,)
    right: Mask  # (C,)
    keyframe: npt.NDArray[np.int64]  # (C, 2) number of the drive, and of the keyframe in it


@dataclasses.dataclass(frozen=True)
class Interval:
    """A 95 % interval; NaN if it is not defined."""

    low: float
    high: float


def bootstrap(closures: Closures, seed: int = 0) -> Interval:
    """The interval of the precision.

    Percentile bootstrap over blocks (Kuensch, Annals of Statistics 1989): stretches of STRETCH
    keyframes are drawn with repetition.
    """
    if not len(closures.right):
        return Interval(math.nan, math.nan)
    stretches = closures.keyframe // np.array([1, STRETCH])
    _, block = np.unique(stretches, axis=0, return_inverse=True)
    block = block.reshape(-1)  # NumPy 2.0 gives another shape
    right, count = np.bincount(block, closures.right), np.bincount(block)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, len(count), (DRAWS, len(count)))
    shares = right[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    tail = (1 - LEVEL) / 2
    return Interval(*map(float, np.quantile(shares, (tail, 1 - tail))))


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
