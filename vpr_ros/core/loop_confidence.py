# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The probability that a match is right, from all that is known about it.

A conditional logit with an outside option (McFadden 1974): every candidate place has the weight
exp(log-odds), "none of them" has the weight 1, and the probability of a place is its share of the
sum. A rival that is as good halves the probability, however good both are.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from vpr_ros.core.verifier import Verification

SIGNIFICANCE = (0, 4, 12, 32, 92)  # where the slope may change
MOST_REPEATED = 30.0

# Maximum likelihood, every weight but the constant restricted to its plausible sign, on images
# that no table of results uses: ie_tower's training and validation floors, each query searched
# among all floors and among all but its own, as taken, blurred and overexposed and as walks; two
# laps through three rendered buildings, one of them with two identical corridors. Descriptors of
# mobilenetv2-gem, 300 SIFT features of images 240 px wide. The weight of the drift is a third of
# the fitted one: these buildings have perfect odometry, and with the fitted weight none of their
# revisits is found when the heading drifts by 1 degree per metre. With a third of it 252 of 291
# are, and the identical corridors are told apart up to 0.5 degrees per metre; with a fifth they
# are not even without drift. See docs/deciding.md.
WITH_FEATURES = {
    "one": -3.878,
    "drift": -4.66,
    "significance to 4": 1.663,
    "significance to 12": 0.487,
    "significance to 32": 2.391,
    "significance to 92": 3.558,
    "density": 1.802,
    "repeat": 3.827,
}
WITHOUT_FEATURES = {"one": -1.533, "score": 3.922, "high score": 4.843, "drift": -2.41}

# Share of right matches among those at least so probable, on the same images. Most lie far above
# the limit, so the limit is lower than the share.
PRECISIONS = (0.5, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998, 0.999)
LIMITS = (0.2, 0.379, 0.554, 0.669, 0.762, 0.81, 0.885, 0.939, 0.953, 0.971)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What speaks for and against one candidate."""

    score: float  # cosine along the trail, scaled: 0 at the score threshold, 1 for equal views
    drift: float | None = None  # of the odometry if the match is right, 0 to 1; None: not known
    verification: Verification | None = None  # None: no local features to compare
    repeat: float = 0.0  # significance that the last two keyframes found for the same place

    @property
    def log_odds(self) -> float:
        """Logarithm of the odds of this candidate against "none of them"."""
        weights = WITHOUT_FEATURES if self.verification is None else WITH_FEATURES
        values = terms(self)
        return sum(weight * values[name] for name, weight in weights.items())


def terms(evidence: Evidence) -> dict[str, float]:
    """What the log-odds are a weighted sum of; all lie between 0 and 1 but for low scores.

    Odometry says what a repeated match says, and better: where it connects query and match,
    `repeat` does not count.
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
        values["density"] = seen.density
        values["repeat"] = min(evidence.repeat / MOST_REPEATED, 1.0)
        if evidence.drift is not None:
            values["repeat"] = 0.0
        for low, high in itertools.pairwise(SIGNIFICANCE):
            share = (seen.significance - low) / (high - low)
            values[f"significance to {high}"] = min(max(share, 0.0), 1.0)
    return values


def probabilities(log_odds: Sequence[float]) -> list[float]:
    """The probability of each of N different places, given the log-odds of each."""
    top = max(0.0, *log_odds)
    weights = np.exp(np.array(log_odds) - top)
    return [float(w) for w in weights / (math.exp(-top) + weights.sum())]


def required(precision: float) -> float:
    """The probability above which this share of the matches is right."""
    return float(np.interp(precision, PRECISIONS, LIMITS))
