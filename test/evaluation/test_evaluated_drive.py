# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a keyframe, on drives worked out by hand."""

import math

import numpy as np
import pytest

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.keyframe import Keyframe
from vpr_ros.evaluation.evaluated_drive import Outcome, evaluate_drive, first_recent
from vpr_ros.evaluation.truth import LoopRule, Trajectory, pair_truth, pose_truth

NOTHING_FRESH = DatabaseConfig(exclude_recent_s=10.0, exclude_recent_keyframes=1)


def poses(places):
    """Planar poses of (x, y, yaw in degrees); None where not known."""
    rows = [(math.nan,) * 3 if p is None else p for p in places]
    positions = np.array([(x, y, 0.0) for x, y, _ in rows]).reshape(-1, 3)
    half = np.radians(np.array([yaw for _, _, yaw in rows])) / 2
    rotations = np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], 1)
    return Trajectory(np.arange(len(rows)), positions, rotations)


class Known:
    """A source that has the truth already."""

    def __init__(self, truth):
        self.truth = truth

    def of(self, stamps_ns, numbers):
        return self.truth


def judged(answers, truth):
    descriptors = np.eye(len(answers), 4, dtype=np.float32)
    return evaluate_drive(answers, descriptors, Known(truth), NOTHING_FRESH)


def outcomes(result):
    return [v.outcome for v in result.verdicts]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ((3.0, 0.0, 0.0), True),  # just within 3 m
        ((3.01, 0.0, 0.0), False),
        ((2.5, 2.5, 0.0), False),  # 3.5 m off
        ((0.0, 0.0, 45.0), True),
        ((0.0, 0.0, 46.0), False),
        ((0.0, 0.0, 340.0), True),  # 20 degrees the other way round
        (None, False),
    ],
)
def test_what_is_one_place(other, same):
    assert pose_truth(poses([(0.0, 0.0, 0.0), other]), LoopRule()).same([0], [1]) == same


def test_headings_meet_across_the_half_turn():
    truth = pose_truth(poses([(0, 0, 170.0), (0, 0, -170.0)]), LoopRule(degrees=20.5))
    assert truth.same([0], [1])
    assert truth.describe(0, 1) == "0.0 m and 20° apart"


def test_a_small_drive(make_answer):
    """Five keyframes out, three back on the same way, one far off, one without truth."""
    route = [(10.0 * t, 0.0, 0.0) for t in range(5)]
    route += [(0.5, 0, 0), (10.5, 0, 0), (20.5, 0, 0), (500.0, 0, 0), None]
    answers = [make_answer(t) for t in range(5)]
    answers += [
        make_answer(20, 0, 0.9, match=0),
        make_answer(21, 4, 0.8, match=4),  # wrong: 29.5 m off
        make_answer(22, 2, 0.7),
        make_answer(23, 1, 0.6),
        make_answer(24, 1, 0.99, match=1),  # nobody knows
    ]
    result = judged(answers, pose_truth(poses(route), LoopRule()))
    assert outcomes(result) == [Outcome.NEW] * 5 + [
        Outcome.RIGHT,
        Outcome.WRONG,
        Outcome.MISSED,
        Outcome.NEW,
        Outcome.UNKNOWN,
    ]
    assert (result.revisits, result.precision, result.recall) == (3, 1 / 2, 1 / 3)
    assert result.curve.threshold == pytest.approx([0.9, 0.8, 0.7, 0.6])  # not the 0.99
    assert result.curve.recall_at_full_precision == pytest.approx(1 / 3)
    assert [v.true for v in result.verdicts[5:]] == [0, 1, 2, None, None]


def test_what_was_just_seen_counts_neither_way(make_answer):
    """Standing still for 12 s: only what is older than 10 s is something to find."""
    answers = [make_answer(t) for t in (0, 4, 8, 12)]
    result = judged(answers, pose_truth(poses([(0, 0, 0)] * 4), LoopRule()))
    assert outcomes(result) == [Outcome.NEW, Outcome.NEW, Outcome.NEW, Outcome.MISSED]


def test_no_closure_at_all(make_answer):
    answers = [make_answer(0), make_answer(1), make_answer(20, 0, 0.5)]
    result = judged(answers, pose_truth(poses([(0, 0, 0), (9, 0, 0), (0, 0, 0)]), LoopRule()))
    assert math.isnan(result.precision)
    assert result.recall == 0.0
    assert result.curve.recall_at_full_precision == 1.0  # the score alone would have


def test_all_wrong(make_answer):
    answers = [make_answer(0), make_answer(20, 0, 0.9, match=0)]
    result = judged(answers, pose_truth(poses([(0, 0, 0), (50, 0, 0)]), LoopRule()))
    assert result.precision == 0.0
    assert math.isnan(result.recall)  # there was nothing to find


def test_one_keyframe(make_answer):
    result = judged([make_answer(0)], pose_truth(poses([(0, 0, 0)]), LoopRule()))
    assert outcomes(result) == [Outcome.NEW]
    assert math.isnan(result.precision)
    assert math.isnan(result.searched.recall_at(1))


def test_no_keyframe():
    result = judged([], pose_truth(poses([]), LoopRule()))
    assert (result.verdicts, result.revisits) == ([], 0)


def test_a_list_of_pairs(make_answer):
    """Image 50 shows image 10; 51 is not known; 52 is not listed, so it is new."""
    numbers = np.array([7, 8, 12, 13, 50, 51, 52])
    truth = pair_truth(numbers, {50: [10], 51: []}, LoopRule(frames=2))
    answers = [make_answer(t) for t in range(4)]
    answers += [
        make_answer(50, 2, 0.9, match=2),  # image 12: two off, right
        make_answer(51, 2, 0.9, match=2),
        make_answer(52, 3, 0.9, match=3),
    ]
    result = judged(answers, truth)
    assert outcomes(result)[4:] == [Outcome.RIGHT, Outcome.UNKNOWN, Outcome.WRONG]
    assert truth.same([4], range(4)).tolist() == [[False, True, True, False]]
    assert result.revisits == 1


def test_to_calibrate_the_match_counts_not_the_most_similar_keyframe(make_answer):
    """Geometry may take another keyframe of the place (`loop.verified_candidates`)."""
    answers = [
        make_answer(0),
        make_answer(1),
        make_answer(30, best=1, score=0.9, match=0, confidence=0.9),  # only this match is right
        make_answer(40, best=0, score=0.8, match=1, confidence=0.8),  # only the best is
        make_answer(50, best=0, score=0.7),  # gated: nothing to learn from
    ]
    truth = pair_truth(np.arange(5) * 10, {20: [0], 30: [0], 40: [0]}, LoopRule(frames=0))
    drive = judged(answers, truth)
    assert [v.answer.confidence for v in drive.of(Outcome.RIGHT)] == [0.9]
    assert [v.answer.confidence for v in drive.of(Outcome.WRONG)] == [0.8]


@pytest.mark.parametrize("stamps", [range(60), [*range(40), *range(5, 25)]])
def test_the_exclusion_is_the_database_s(stamps, make_answer):
    """Also where time jumps back: older sessions are never too fresh."""
    config = DatabaseConfig(exclude_recent_s=12.5, exclude_recent_keyframes=7)
    database, answers, expected = Database(config), [], []
    for id, t_s in enumerate(stamps):
        stamp = t_s * 10**9
        vector = np.eye(4, dtype=np.float32)[id % 4]
        found = database.search_older(vector, stamp, 1000)
        expected.append(1 + max((c.place.sequence for c in found), default=-1))
        place = database.add(Keyframe(id, stamp, "m", 0.0, vector))
        answers.append(make_answer(t_s, session=place.session))
    limits = np.maximum(first_recent(answers, config), 0)
    assert limits.tolist() == expected
