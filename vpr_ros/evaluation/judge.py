# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good the answers are: every keyframe judged by the truth."""

from __future__ import annotations

import dataclasses

import numpy as np

from vpr_ros.evaluation.curve import sweep
from vpr_ros.evaluation.neighbours import Neighbours
from vpr_ros.evaluation.replay import Answer
from vpr_ros.evaluation.tally import Outcome, Tally
from vpr_ros.evaluation.truth import Truth


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One keyframe, judged."""

    index: int
    answer: Answer
    outcome: Outcome
    true: int | None  # the nearest true older keyframe; None: nothing to find
    best_right: bool  # is the best match right, before the gates?


@dataclasses.dataclass(frozen=True)
class Judgement(Tally[Verdict]):
    """All keyframes judged, and what a perfect memory would have found."""

    neighbours: Neighbours


def judge(answers: list[Answer], truth: Truth, neighbours: Neighbours) -> Judgement:
    """Judge every answer; the N answers, truth and neighbours belong to the same keyframes."""
    verdicts = [_verdict(i, a, truth, int(n)) for i, (a, n) in
                enumerate(zip(answers, neighbours.nearest, strict=True))]  # fmt: skip
    ranked = [
        v for v in verdicts if v.answer.best is not None and _known(truth, v.index, v.answer.best)
    ]
    curve = sweep(
        np.array([v.answer.score for v in ranked]),
        np.array([v.best_right for v in ranked], bool),
        possible=sum(v.true is not None for v in verdicts),
    )
    return Judgement(verdicts, curve, neighbours)


def _verdict(index: int, answer: Answer, truth: Truth, nearest: int) -> Verdict:
    match, best = answer.match, answer.best
    best_right = best is not None and truth.same(index, best)
    if not _known(truth, index, match):
        outcome = Outcome.UNKNOWN
    elif match is not None:
        right = best_right if match == best else truth.same(index, match)
        outcome = Outcome.RIGHT if right else Outcome.WRONG
    else:
        outcome = Outcome.MISSED if nearest >= 0 else Outcome.NEW
    return Verdict(index, answer, outcome, nearest if nearest >= 0 else None, best_right)


def _known(truth: Truth, index: int, match: int | None) -> bool:
    """A match without a pose cannot be judged; one of a list of pairs can."""
    return bool(truth.known[index]) and (match is None or truth.can_match(match))
