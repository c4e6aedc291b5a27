# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's judgement, on cases worked out by hand."""

import math

import pytest

from demo.metrics import sparsity_text
from demo.recording import Answer, Closure
from demo.score import score
from demo.truth import Truth, View, is_loop
from vpr_ros.core.errors import VprError
from vpr_ros.evaluation.tally import Outcome

S = 10**9


def view(second, x, y=0.0, yaw_deg=0.0):
    return View(second * S, x, y, math.radians(yaw_deg))


def answer(second, match=None, value=math.nan, reason="ACCEPTED"):
    return Answer(second * S, reason, None if match is None else match * S, value)


def closure(second, match, value=0.9):
    return Closure(second * S, match * S, value)


def outcomes(judged):
    return [verdict.outcome for verdict in judged.verdicts]


@pytest.mark.parametrize(
    ("match", "right"),
    [
        (view(0, 3.0), True),  # just within 3 m
        (view(0, 3.01), False),
        (view(0, 2.5, 2.5), False),  # 3.5 m off
        (view(0, 0.0, yaw_deg=45.0), True),
        (view(0, 0.0, yaw_deg=46.0), False),
        (view(0, 0.0, yaw_deg=340.0), True),  # 20 degrees the other way round
        (view(9, 0.0), True),
        (view(10, 0.0), False),  # exactly as old as the exclusion: the database leaves it out
        (view(30, 0.0), False),  # younger than the query
    ],
)
def test_what_is_a_loop(match, right):
    assert is_loop(view(20, 0.0), match) is right


def test_headings_meet_across_the_half_turn():
    assert view(0, 0.0, yaw_deg=170.0).turn_deg(view(20, 0.0, yaw_deg=-170.0)) == pytest.approx(20)


def test_a_small_drive():
    """Five keyframes out, three back on the same way, one far off."""
    route = [view(t, 10.0 * t) for t in range(5)]
    route += [view(20, 0.5), view(21, 10.5), view(22, 20.5), view(23, 500.0)]
    answers = [answer(t, reason="NO_OLDER_PLACES") for t in range(5)]
    answers += [
        answer(20, 0, 0.9),
        answer(21, 4, 0.8),  # wrong: 29.5 m off
        answer(22, 2, 0.7, "GEOMETRY"),
        answer(23, 1, 0.6, "LOW_SCORE"),
    ]
    judged = score(answers, [closure(20, 0), closure(21, 4)], Truth(route))
    assert outcomes(judged) == [Outcome.NEW] * 5 + [
        Outcome.RIGHT,
        Outcome.WRONG,
        Outcome.MISSED,
        Outcome.NEW,
    ]
    assert judged.revisits == 3
    assert judged.precision == pytest.approx(1 / 2)
    assert judged.recall == pytest.approx(1 / 3)
    # by score: 0.9 right, 0.8 wrong, 0.7 right, 0.6 wrong; three could be right
    assert judged.curve.threshold == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert judged.curve.precision == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4])
    assert judged.curve.recall == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert judged.curve.recall_at_full_precision == pytest.approx(1 / 3)


def test_a_wrong_closure_of_a_new_place_costs_precision_only():
    route = [view(0, 0.0), view(20, 0.0), view(21, 90.0)]
    answers = [answer(0), answer(20, 0, 0.9), answer(21, 0, 0.5)]
    judged = score(answers, [closure(20, 0), closure(21, 0)], Truth(route))
    assert outcomes(judged) == [Outcome.NEW, Outcome.RIGHT, Outcome.WRONG]
    assert (judged.precision, judged.recall) == (1 / 2, 1.0)


def test_only_keyframes_can_be_found():
    """The image at 0 s shows the place, but was no keyframe: there is nothing to miss."""
    route = [view(0, 0.0), view(1, 50.0), view(20, 0.0)]
    judged = score([answer(1), answer(20, 1, 0.4, "LOW_SCORE")], [], Truth(route))
    assert outcomes(judged) == [Outcome.NEW, Outcome.NEW]


def test_nothing_to_divide_by_is_not_a_number():
    judged = score([answer(0), answer(1)], [], Truth([view(0, 0.0), view(1, 1.0)]))
    assert math.isnan(judged.precision)
    assert math.isnan(judged.recall)
    assert math.isnan(judged.curve.recall_at_full_precision)
    assert judged.curve.threshold.size == 0


def test_a_stamp_that_is_not_of_the_drive_is_an_error():
    with pytest.raises(VprError, match="do not belong together"):
        score([answer(7)], [], Truth([view(0, 0.0)]))


def test_route_file(tmp_path):
    path = tmp_path / "route.csv"
    path.write_text(
        "stamp_s,x_m,y_m,yaw_rad,lap,section\n1780000000.100,2.5,-1.0,0.25,1,lobby\n"
        "1780000000.200,2.6,-1.0,0.25,2,corridor A\n"
    )
    truth = Truth.read(path)
    assert truth.at(1_780_000_000_200_000_000).section == "corridor A"
    assert truth.views[0] == View(1_780_000_000_100_000_000, 2.5, -1.0, 0.25, 1, "lobby")


def test_sparsity_in_words():
    assert sparsity_text([[0.0, 0.0], [41.2, 0.4], [70.0, 0.6]]) == "0 → 0.4 at 41 s → 0.6 at 70 s"
