# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good the closures are, judged by the exact poses."""

from __future__ import annotations

import dataclasses

import numpy as np

from demo.recording import Answer, Closure
from demo.truth import Truth, View, is_loop
from vpr_ros.evaluation.curve import sweep
from vpr_ros.evaluation.tally import Outcome, Tally


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One keyframe, judged."""

    query: View
    answer: Answer
    closure: Closure | None
    match: View | None  # of the closure
    true: View | None  # the nearest true older keyframe; None: nothing to find

    @property
    def outcome(self) -> Outcome:
        """Right or wrong, or why nothing was published."""
        if self.match is not None:
            return Outcome.RIGHT if is_loop(self.query, self.match) else Outcome.WRONG
        return Outcome.NEW if self.true is None else Outcome.MISSED


Score = Tally[Verdict]


def score(answers: list[Answer], closures: list[Closure], truth: Truth) -> Score:
    """Judge every keyframe that was answered; the answers are in order of time."""
    keyframes = [truth.at(answer.stamp_ns) for answer in answers]
    published = {closure.stamp_ns: closure for closure in closures}
    verdicts = []
    for query, answer in zip(keyframes, answers, strict=True):
        older = [view for view in keyframes if is_loop(query, view)]
        closure = published.get(answer.stamp_ns)
        verdicts.append(
            Verdict(
                query,
                answer,
                closure,
                None if closure is None else truth.at(closure.match_ns),
                min(older, key=query.distance_m) if older else None,
            )
        )
    ranked = [(a, truth.at(a.match_ns), q) for q, a in zip(keyframes, answers, strict=True)
              if a.match_ns is not None]  # fmt: skip
    scores = np.array([answer.score for answer, _, _ in ranked], dtype=np.float64)
    right = np.array([is_loop(query, match) for _, match, query in ranked], dtype=bool)
    possible = sum(verdict.true is not None for verdict in verdicts)
    return Tally(verdicts, sweep(scores, right, possible))
