# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds and confidence, on cases worked out by hand."""

import math

import numpy as np
import pytest

from vpr_ros.evaluation.confidence import (
    Matches,
    Thresholds,
    bootstrap,
    choose_thresholds,
    held_out,
    lower_bound,
    lowest_score,
    needed,
)


def matches(score, right, margin=None):
    count = len(score)
    return Matches(
        np.array(score, float),
        np.full(count, math.inf) if margin is None else np.array(margin, float),
        np.array(right, bool),
        np.arange(count) * 10,  # each in a stretch of its own
    )


def lowest(score, right, precision):
    return lowest_score(np.array(score, float), np.array(right, bool), precision)


def test_the_lowest_score_that_keeps_the_precision():
    score, right = [0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 0, 1, 0]
    assert lowest(score, right, 1.0) == (0.8, 2)
    assert lowest(score, right, 0.75) == (0.6, 3)  # 3 of 4: below a wrong one it holds again
    assert lowest(score, right, 0.6) == (0.6, 3)  # 0.5 would let in no right one more
    assert lowest(score, right, 0.5) == (0.6, 3)


def test_equal_scores_stand_or_fall_together():
    assert lowest([0.9, 0.8, 0.8], [1, 1, 0], 0.9) == (0.9, 1)
    score, count = lowest([0.8, 0.8], [1, 0], 0.9)
    assert (math.isnan(score), count) == (True, 0)


def test_no_match_and_all_wrong():
    assert lowest([], [], 0.9)[1] == 0
    assert lowest([0.9, 0.8], [0, 0], 0.9)[1] == 0
    assert choose_thresholds(matches([], []), 0.9) is None
    assert choose_thresholds(matches([0.9], [0]), 0.9) is None


def test_a_margin_is_used_only_where_it_helps():
    # the wrong one scores highest, but is ambiguous
    ambiguous = matches([0.95, 0.9, 0.8], [0, 1, 1], [0.01, 0.2, 0.1])
    thresholds = choose_thresholds(ambiguous, 1.0)
    assert thresholds.score == 0.8
    assert 0.01 < thresholds.margin < 0.1
    assert ambiguous.accepted(thresholds).tolist() == [False, True, True]
    clear = matches([0.9, 0.8, 0.5], [1, 1, 0], [0.2, 0.1, 0.01])
    assert choose_thresholds(clear, 1.0) == Thresholds(0.8, 0.0)


def test_how_many_loops_promise_a_precision():
    assert needed(0.99) == 299  # 0.99 ** 299 < 0.05 <= 0.99 ** 298
    assert needed(0.9) == 29
    assert lower_bound(299, 299) >= 0.99 > lower_bound(298, 298)
    assert lower_bound(10, 10) == pytest.approx(0.05 ** (1 / 10))  # by hand: p ** 10 = 0.05
    assert lower_bound(0, 5) == 0.0
    # one of two: 1 - (1 - p) ** 2 = 0.05
    assert lower_bound(1, 2) == pytest.approx(1 - math.sqrt(0.95))


def test_bootstrap_of_a_perfect_and_of_a_mixed_bag():
    perfect = matches([0.9] * 20, [1] * 20)
    precision, score = bootstrap(perfect, Thresholds(0.9), 0.9)
    assert (precision.low, precision.high, score.low) == (1.0, 1.0, 0.9)
    mixed = matches([0.9] * 100, [1] * 90 + [0] * 10)
    precision, _ = bootstrap(mixed, Thresholds(0.9), 0.9)
    # binomial: 0.9 +- 1.96 * sqrt(0.9 * 0.1 / 100) = 0.841 .. 0.959
    assert precision.low == pytest.approx(0.84, abs=0.02)
    assert precision.high == pytest.approx(0.96, abs=0.02)


def test_stretches_are_drawn_whole():
    """100 neighbours that are all right or all wrong tell no more than the 10 stretches."""
    random = np.random.default_rng(1)
    right = np.repeat(random.random(10) < 0.7, 10)
    whole = Matches(np.full(100, 0.9), np.full(100, math.inf), right, np.arange(100))
    single = Matches(whole.score, whole.margin, right, np.arange(100) * 10)
    wide, _ = bootstrap(whole, Thresholds(0.9), 0.5)
    narrow, _ = bootstrap(single, Thresholds(0.9), 0.5)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_held_out_parts_use_the_others_threshold():
    clear = matches([0.9, 0.8] * 10 + [0.1] * 5, [1, 1] * 10 + [0] * 5)
    assert held_out(clear, 1.0, 0.0) == (20, 20)
    # the only wrong match that scores high is seen by four parts, but not by its own
    surprise = matches([0.9] * 10 + [0.95], [1] * 10 + [0])
    right, accepted = held_out(surprise, 1.0, 0.0)
    assert accepted - right == 1
