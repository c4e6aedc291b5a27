# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How good the closures are, judged by the exact poses."""

from __future__ import annotations

import dataclasses
import enum
import math

import numpy as np

from demo.recording import Answer, Closure
from demo.truth import Truth, View, is_loop


class Outcome(enum.Enum):
    """What became of one keyframe."""

    RIGHT = "right closure"
    WRONG = "wrong closure"
    MISSED = "missed"  # there is a true older place, and no closure
    NEW = "nothing to find"  # no true older place, and no closure


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


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision over recall while the score threshold falls, before all other gates."""

    threshold: np.ndarray  # (T,) distinct scores, falling
    precision: np.ndarray  # (T,)
    recall: np.ndarray  # (T,)

    @property
    def recall_at_full_precision(self) -> float:
        """The largest recall at which nothing is wrong; 0 if the best score already is."""
        return float(self.recall[self.precision == 1.0].max(initial=0.0))


@dataclasses.dataclass(frozen=True)
class Score:
    """All keyframes judged; NaN where there is nothing to divide by."""

    verdicts: list[Verdict]
    curve: Curve

    def count(self, outcome: Outcome) -> int:
        """Keyframes of this outcome."""
        return sum(v.outcome is outcome for v in self.verdicts)

    @property
    def revisits(self) -> int:
        """Keyframes that have a true older place in the database."""
        return sum(v.true is not None for v in self.verdicts)

    @property
    def precision(self) -> float:
        """Right closures / closures."""
        right, wrong = self.count(Outcome.RIGHT), self.count(Outcome.WRONG)
        return right / (right + wrong) if right + wrong else math.nan

    @property
    def recall(self) -> float:
        """Keyframes with a right closure / keyframes with a true older place."""
        return self.count(Outcome.RIGHT) / self.revisits if self.revisits else math.nan

    @property
    def recall_at_full_precision(self) -> float:
        """What a perfect threshold on the score alone would have reached."""
        return self.curve.recall_at_full_precision if self.revisits else math.nan


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
    scores = np.array([answer.score for answer, _, _ in ranked])
    right = np.array([is_loop(query, match) for _, match, query in ranked], dtype=bool)
    possible = sum(verdict.true is not None for verdict in verdicts)
    return Score(verdicts, sweep(scores, right, possible))


def sweep(scores: np.ndarray, right: np.ndarray, possible: int) -> Curve:
    """Accept every best candidate at or above a threshold, for each distinct score.

    `scores` (N,), `right` (N,) bool. Equal scores are accepted together, so that no order among
    them can flatter the curve.
    """
    thresholds = np.unique(scores)[::-1]
    accepted = scores >= thresholds[:, np.newaxis]  # (T, N)
    hits = (accepted & right).sum(axis=1)
    return Curve(thresholds, hits / accepted.sum(axis=1), hits / max(possible, 1))
