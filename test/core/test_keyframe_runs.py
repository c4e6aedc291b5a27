# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lost keyframes and foreign ones are noticed by their ids, and nothing else is."""

import pytest

from vpr_ros.core.keyframe import random_first_id
from vpr_ros.core.keyframe_runs import LONGEST_GAP, KeyframeRuns

A, B = random_first_id(), random_first_id()


def complaints(ids):
    runs = KeyframeRuns()
    return [runs.add(id) for id in ids], runs.lost


@pytest.mark.parametrize(
    ("ids", "lost"),
    [
        ([A, A + 1, A + 2], 0),
        ([A + 700, A + 701], 0),  # the database starts later than the encoder
        ([A, A + 3], 2),
        ([A, A + 2, A + 1, A + 3], 1),  # out of order: one came late
        ([A, A, A + 1], 0),
        ([A, A + 1, B, B + 1], 0),  # the encoder starts anew
        ([A, A + 2, B, B + 5], 5),
        ([100, 3000, 3001], 2899),
        ([100, 100 + LONGEST_GAP + 2], 0),  # somebody's own ids
    ],
)
def test_gaps_are_counted(ids, lost):
    told, counted = complaints(ids)
    assert counted == lost and sum("did not arrive" in text for text in told) == (lost > 0) + (
        B + 5 in ids
    )


def test_two_encoders_on_one_topic_are_told():
    told, lost = complaints([A, B, A + 1, B + 1, B + 2, A + 2])
    assert [bool(text) for text in told] == [False, False, True, True, False, True]
    assert "two encoders" in told[2] and lost == 0


def test_forged_ids_take_no_memory():
    runs = KeyframeRuns()
    for _ in range(1000):
        runs.add(random_first_id())
    assert len(runs._last_id) <= 16


def test_first_ids_fit_and_differ():
    """They need no clock."""
    firsts = [random_first_id() for _ in range(2000)]
    assert all(0 < first < 2**63 for first in firsts)
    assert len({first >> 23 for first in firsts}) == 2000  # each has 8 million ids to itself
    assert all(first & (2**23 - 1) == 1 for first in firsts)
