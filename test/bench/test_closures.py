# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is right, wrong, missed or not to be found is counted as such."""

from pathlib import Path

import numpy as np
import pytest

from bench.closure_sets import (
    ClosureSet,
    View,
    campus_robot,
    corridor,
    ie_tower,
    rtabmap_samples,
)
from bench.closures import Outcome, outcomes, row
from vpr_ros.core.keyframe import Keyframe
from vpr_ros.core.loop_config import LoopConfig

PLACES = 16


def look(view, number):
    """A keyframe whose place is the name of its image; names alike are views alike."""
    place = int(view.image.name)
    return Keyframe(
        id=number,
        stamp_ns=round(view.stamp_s * 1e9),
        model="m",
        sparsity=0.0,
        descriptor=np.eye(40, dtype=np.float32)[place],
    )


CONFIG = LoopConfig(verified_candidates=0, score_threshold=0.5)


def views(places, start_s=0.0):
    return tuple(View(Path(str(place)), start_s + i) for i, place in enumerate(places))


def test_a_walk_counts_its_first_lap_as_well():
    """What looks like place 3 is another place, and place 20 was never seen."""
    shown = [*range(PLACES), 3, 4, 20]
    right = np.zeros((len(shown), len(shown)), bool)
    right[17, 4] = True
    case = ClosureSet("walk", (), views(shown), right, True, np.ones(len(shown), bool))
    found = outcomes(case, look, look, CONFIG)
    assert found[:16] == [Outcome(False, False, False)] * 16
    assert found[16:] == [
        Outcome(False, True, False),
        Outcome(True, True, True),
        Outcome(False, False, False),
    ]
    assert row("walk", found).startswith("| walk | 19 | 1 | 1 | 1 | 0 | 100 [")


def test_single_queries_do_not_see_each_other():
    map = views(range(PLACES))
    right = np.zeros((2, PLACES + 2), bool)
    case = ClosureSet("single", map, views([20, 20]), right, False, np.ones(2, bool))
    assert outcomes(case, look, look, CONFIG) == [Outcome(False, False, False)] * 2


def test_without_an_answer_there_is_no_share():
    assert row("open", [Outcome(False, True, False)] * 3) == "| open | 3 | 0 | 0 | 3 | 0 | - |"


@pytest.mark.parametrize(
    ("read", "queries", "answers"),
    [(rtabmap_samples, 84, 40), (corridor, 111, 111), (campus_robot, 72, 0)],
)
def test_the_sets_are_read_as_they_are(shared_data, read, queries, answers):
    case = read(shared_data)
    assert len(case.queries) == queries and len(case.judged) == queries
    assert all(view.image.is_file() for view in (*case.map, *case.queries))
    assert case.right.shape == (queries, len(case.map) + queries)
    before = np.tri(queries, queries, -11, bool)
    older = np.hstack([np.ones((queries, len(case.map)), bool), before])
    assert (case.right & older).any(axis=1).sum() == answers


def test_the_tower_is_asked_with_and_without_its_floor(shared_data):
    (closed,) = ie_tower(shared_data, mapped=True)
    assert len(closed.queries) == 114 and closed.right.any(axis=1).all()
    floors = list(ie_tower(shared_data, mapped=False))
    assert sum(len(case.queries) for case in floors) == 114
    assert not any(case.right[:, : len(case.map)].any() for case in floors)
