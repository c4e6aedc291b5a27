# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""More evidence is more probable, a rival takes its share, and a number always comes out."""

import dataclasses
import itertools
import math

import pytest

from vpr_ros.core.loop_confidence import (
    LIMITS_WITH_FEATURES,
    LIMITS_WITHOUT_FEATURES,
    PRECISIONS,
    WITH_FEATURES,
    WITHOUT_FEATURES,
    Evidence,
    probabilities,
    required,
    terms,
)
from vpr_ros.core.verifier import Verification

SEEN = Verification(inliers=40, significance=30.0, density=0.4)


def probability(**changes):
    return probabilities([dataclasses.replace(Evidence(0.5, None, SEEN), **changes).log_odds])[0]


def test_every_weight_has_its_term():
    assert set(terms(Evidence(0.5))) >= set(WITHOUT_FEATURES)
    assert set(terms(Evidence(0.5, 0.1, SEEN))) >= set(WITH_FEATURES)


def test_more_evidence_is_more_probable():
    chances = [
        probability(verification=dataclasses.replace(SEEN, significance=s))
        for s in (0.0, 3.0, 8.0, 20.0, 60.0, 90.0)
    ]
    assert all(low < high for low, high in itertools.pairwise(chances))
    assert chances[0] < 0.2 and chances[-1] > 0.98
    dense = dataclasses.replace(SEEN, density=0.8)
    assert probability() < probability(verification=dense)
    assert probability(order=0.0) < probability(order=0.5) < probability(order=1.0)
    assert probability(order=0.0) < probability(order=None)
    assert probability(sequence=0.2) < probability(sequence=0.5) < probability(sequence=1.0)
    assert probability(drift=0.3) < probability(drift=0.02) < probability(drift=0.0)
    assert probability(drift=0.0, order=0.3, sequence=0.9) == probability(drift=0.0)
    bare = [Evidence(score).log_odds for score in (-1.0, 0.0, 0.4, 0.9)]
    assert bare == sorted(bare)


def test_agreement_is_measured_against_what_the_images_can_give():
    """Half the agreement is as much where half is to be expected; more never counts twice."""
    half = dataclasses.replace(SEEN, significance=15.0, density=0.2, expected=0.5)
    assert probability(verification=half) == pytest.approx(probability())
    assert probability(verification=dataclasses.replace(SEEN, expected=1.5)) < probability()
    full = dataclasses.replace(SEEN, density=1.0, expected=0.5)
    assert terms(Evidence(0.5, None, full))["density"] == 1.0


def test_places_share_one():
    alone, even, three = (probabilities([3.0] * n) for n in (1, 2, 3))
    assert alone[0] == pytest.approx(1 / (1 + math.exp(-3)))
    assert even[0] == even[1] < 0.5 and sum(three) < 1
    assert probabilities([6.0, -6.0])[0] > 0.99
    assert probabilities([1e4, -1e4]) == [1.0, 0.0]


@pytest.mark.parametrize("score", [-1e9, -1.0, 0.0, 1.0, 1e9])
def test_confidence_is_a_number_for_any_score(score):
    for seen in (None, Verification(), Verification(inliers=10**4, significance=1e4, density=1)):
        assert 0 <= probabilities([Evidence(score, 1.0, seen).log_odds])[0] <= 1


def test_a_higher_precision_requires_more():
    assert list(PRECISIONS) == sorted(set(PRECISIONS))
    for seen, table in ((SEEN, LIMITS_WITH_FEATURES), (None, LIMITS_WITHOUT_FEATURES)):
        assert list(table) == sorted(table) and len(table) == len(PRECISIONS)
        known = Evidence(0.5, None, seen).seen
        assert required(0.99, known) == table[PRECISIONS.index(0.99)]
        assert all(required(p, known) < p for p in (0.5, 0.7, 0.9, 0.95, 0.99, 0.999))


def test_what_a_first_look_can_close():
    """A robot that has just started has no order yet; strong geometry alone must do."""
    strong = dataclasses.replace(SEEN, significance=80.0, density=0.6)
    for order in (None, 0.0):
        evidence = Evidence(0.5, None, strong, order)
        assert probabilities([evidence.log_odds])[0] > required(0.99)
