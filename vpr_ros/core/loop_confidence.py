# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The probability that a match is right, from all evidence about it.

A conditional logit with an outside option (McFadden 1974): every candidate place has the weight
exp(log-odds), "none of them" has the weight 1, and the probability of a place is its share of the
sum. A rival that is as good halves the probability, however good both are.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from vpr_ros.core.verifier import Verification

SIGNIFICANCE = (0, 4, 12, 32, 92)  # where the slope may change
LIKELY = 0.25  # similarity of a sequence, below which it says nothing
SEQUENCED = 4  # significance from which on a sequence counts in full

# As printed by bench.fit_confidence, from images of which none is in a table of results; see
# docs/deciding.md.
WITH_FEATURES = {
    "one": -2.537,
    "drift": -12.450,
    "significance to 4": 0.355,
    "significance to 12": 0.420,
    "significance to 32": 2.461,
    "significance to 92": 5.928,
    "density": 1.258,
    "sequence": 7.759,
    "disorder": -1.018,
}
WITHOUT_FEATURES = {"one": -0.532, "score": 5.951, "high score": 1.472, "drift": -4.827}

# Share of right matches among those at least so probable. Most lie far above the limit, so the
# limit is lower than the share.
PRECISIONS = (0.5, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998, 0.999)
LIMITS_WITH_FEATURES = (0.0, 0.308, 0.489, 0.64, 0.728, 0.762, 0.831, 0.9, 0.944, 0.993)
LIMITS_WITHOUT_FEATURES = (0.002, 0.424, 0.539, 0.619, 0.673, 0.703, 0.743, 0.809, 0.918, 0.974)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The evidence for and against one candidate."""

    score: float  # cosine along the trail, scaled: 0 at the score threshold, 1 for equal views
    drift: float | None = None  # of the odometry if the match is right, 0 to 1; None: not known
    verification: Verification | None = None  # None: no local features to compare
    order: float | None = None  # share of the last keyframes that found the way to it; None: first
    sequence: float = 0.0  # similarity of the last keyframes to those in order with it, 1 at most

    @property
    def seen(self) -> bool:
        """Whether local features were compared."""
        return self.verification is not None

    @functools.cached_property
    def log_odds(self) -> float:
        """Logarithm of the odds of this candidate against "none of them"."""
        weights = WITHOUT_FEATURES if self.verification is None else WITH_FEATURES
        values = terms(self)
        return sum(weight * values[name] for name, weight in weights.items())

    @functools.cached_property
    def sharp(self) -> Evidence:
        """The same agreement between two sharp images; by it views of one place are compared.

        A worse image makes the same agreement more telling, but not the view a nearer one.
        """
        if self.verification is None or self.verification.expected == 1.0:
            return self
        verification = dataclasses.replace(self.verification, expected=1.0)
        return dataclasses.replace(self, verification=verification)


def terms(evidence: Evidence) -> dict[str, float]:
    """The terms whose weighted sum is the log-odds; all are in [0, 1] except for low scores.

    Odometry carries the same information as the order of matches, and more: where it connects
    query and match, neither the order nor the sequence counts. A sequence alone proves nothing; it
    is weighted by the significance of the geometry.
    """
    score = min(max(evidence.score, -1.0), 1.0)
    values = {
        "one": 1.0,
        "score": score,
        "high score": max(0.0, score - 0.5),
        "drift": 0.0 if evidence.drift is None else min(evidence.drift, 1.0),
    }
    seen = evidence.verification
    if seen is not None:
        significance = seen.significance / seen.expected
        order = evidence.order if evidence.drift is None else None
        values["disorder"] = 0.0 if order is None else 1.0 - order
        sequence = evidence.sequence if evidence.drift is None else 0.0
        likely = max(0.0, sequence - LIKELY) / (1 - LIKELY)
        values["sequence"] = likely * min(significance / SEQUENCED, 1.0)
        values["density"] = min(seen.density / seen.expected, 1.0)
        for low, high in itertools.pairwise(SIGNIFICANCE):
            share = (significance - low) / (high - low)
            values[f"significance to {high}"] = min(max(share, 0.0), 1.0)
    return values


def probabilities(log_odds: Sequence[float]) -> list[float]:
    """The probability of each of N different places, given the log-odds of each."""
    top = max(0.0, *log_odds)
    weights = np.exp(np.array(log_odds) - top)
    return [float(w) for w in weights / (math.exp(-top) + weights.sum())]


def required(precision: float, seen: bool = True) -> float:
    """The probability above which a share `precision` of the matches is right.

    `seen`: whether local features were compared.
    """
    limits = LIMITS_WITH_FEATURES if seen else LIMITS_WITHOUT_FEATURES
    return float(np.interp(precision, PRECISIONS, limits))
