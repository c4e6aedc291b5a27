# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Precision and recall on cases worked out by hand."""

import math

import numpy as np
import pytest

from vpr_ros.evaluation.precision_recall import precision_recall


def curve(scores, right, possible):
    return precision_recall(np.array(scores, float), np.array(right, bool), possible)


def test_by_hand():
    """0.9 right, 0.8 wrong, 0.7 right, 0.6 wrong; three could be right."""
    got = curve([0.6, 0.9, 0.7, 0.8], [0, 1, 1, 0], 3)
    assert got.threshold == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert got.precision == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4])
    assert got.recall == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert got.recall_at_full_precision == pytest.approx(1 / 3)
    # recall grows by 1/3 at precision 1 and by 1/3 at precision 2/3; the last third is never found
    assert got.average_precision == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    f1, threshold = got.best_f1
    assert (f1, threshold) == (pytest.approx(2 * (2 / 3) * (2 / 3) / (4 / 3)), 0.7)


def test_ties_are_accepted_together():
    """A wrong match at the score of a right one keeps that right one from counting."""
    for right in ([1, 1, 0], [1, 0, 1]):  # whatever their order
        got = curve([0.9, 0.8, 0.8], right, 2)
        assert got.threshold == pytest.approx([0.9, 0.8])
        assert got.precision == pytest.approx([1, 2 / 3])
        assert got.recall == pytest.approx([1 / 2, 1])
        assert got.recall_at_full_precision == pytest.approx(1 / 2)
        assert got.average_precision == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_everything_tied():
    got = curve([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 1], 3)
    assert (len(got.threshold), got.precision[0], got.recall[0]) == (1, 3 / 4, 1.0)
    assert got.recall_at_full_precision == 0.0
    assert got.average_precision == pytest.approx(3 / 4)


def test_recall_at_full_precision_may_come_after_nothing_wrong_only():
    """By definition: the largest recall at which nothing accepted is wrong."""
    assert curve([0.9, 0.8, 0.7], [1, 1, 0], 4).recall_at_full_precision == pytest.approx(1 / 2)
    assert curve([0.9, 0.8, 0.7], [0, 1, 1], 2).recall_at_full_precision == 0.0
    assert curve([0.9, 0.8], [1, 1], 2).recall_at_full_precision == 1.0


def test_all_wrong():
    got = curve([0.9, 0.8], [0, 0], 2)
    assert (got.recall_at_full_precision, got.average_precision) == (0.0, 0.0)
    f1, threshold = got.best_f1
    assert f1 == 0.0
    assert math.isnan(threshold)


def test_no_match_at_all_though_there_was_something_to_find():
    got = curve([], [], 5)
    assert len(got.threshold) == 0
    assert (got.recall_at_full_precision, got.average_precision) == (0.0, 0.0)
    assert got.best_f1[0] == 0.0


def test_nothing_to_find():
    got = curve([0.9], [0], 0)
    assert math.isnan(got.recall_at_full_precision)
    assert math.isnan(got.average_precision)
    assert all(map(math.isnan, got.best_f1))


def test_one_match():
    got = curve([0.9], [1], 1)
    assert (got.recall_at_full_precision, got.average_precision) == (1.0, 1.0)
    assert got.best_f1 == (1.0, 0.9)


def test_average_precision_against_plain_loops():
    random = np.random.default_rng(0)
    scores = random.integers(0, 20, 200) / 20  # many ties
    right = random.random(200) < scores
    possible = 150
    got = curve(scores, right, possible)
    area = before = 0.0
    for threshold in sorted(set(scores), reverse=True):
        accepted = [r for s, r in zip(scores, right, strict=True) if s >= threshold]
        recall = sum(accepted) / possible
        area += (recall - before) * sum(accepted) / len(accepted)
        before = recall
    assert got.average_precision == pytest.approx(area)
