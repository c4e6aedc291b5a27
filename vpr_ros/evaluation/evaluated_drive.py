# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One drive, evaluated: what became of every keyframe, by the ground truth."""

from __future__ import annotations

import dataclasses
import enum
import math

import numpy as np
import numpy.typing as npt

from vpr_ros.core import recency
from vpr_ros.core.database import DatabaseConfig
from vpr_ros.core.keyframe import NS_PER_S
from vpr_ros.evaluation.precision_recall import Curve, Judged
from vpr_ros.evaluation.replay import Answer
from vpr_ros.evaluation.search import NOBODY, Indices, Ranked, search
from vpr_ros.evaluation.truth import Truth, judge
from vpr_ros.evaluation.truth_source import TruthSource


class Outcome(enum.Enum):
    """What became of one keyframe."""

    RIGHT = "right closure"
    WRONG = "wrong closure"
    MISSED = "missed"  # there is a true older place, and no closure
    NEW = "nothing to find"  # no true older place, and no closure
    UNKNOWN = "not judged"  # the truth does not know the query or the match


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One keyframe's answer, held against the truth."""

    index: int
    answer: Answer
    outcome: Outcome
    true: int | None  # the nearest true older keyframe; None: nothing to find
    best_right: bool  # is the most similar keyframe right, whatever was decided?


@dataclasses.dataclass(frozen=True)
class Drive:
    """All keyframes of a drive; shares are NaN where there is nothing to divide by."""

    answers: list[Answer]  # N
    descriptors: npt.NDArray[np.floating]  # (N, D)
    first_recent: Indices  # (N,) the first keyframe that was too recent to be a loop
    truth: Truth
    nearest: Indices  # (N,) the nearest true older keyframe, or NOBODY
    searched: Judged  # exhaustively, among all older keyframes, without the database's bound
    verdicts: list[Verdict]  # N
    curve: Curve  # of the scores alone, without the other evidence

    def of(self, outcome: Outcome) -> list[Verdict]:
        """The keyframes of this outcome."""
        return [v for v in self.verdicts if v.outcome is outcome]

    def count(self, outcome: Outcome) -> int:
        """Number of keyframes of this outcome."""
        return len(self.of(outcome))

    @property
    def revisits(self) -> int:
        """Keyframes that have a true older place."""
        return int((self.nearest != NOBODY).sum())

    @property
    def precision(self) -> float:
        """Right closures / closures that can be judged."""
        right, wrong = self.count(Outcome.RIGHT), self.count(Outcome.WRONG)
        return right / (right + wrong) if right + wrong else math.nan

    @property
    def recall(self) -> float:
        """Keyframes with a right closure / keyframes with a true older place."""
        return self.count(Outcome.RIGHT) / self.revisits if self.revisits else math.nan

    def seconds(self, index: int) -> float:
        """Time of a keyframe since the first [s]."""
        return (self.answers[index].stamp_ns - self.answers[0].stamp_ns) * 1e-9


def evaluate_drive(
    answers: list[Answer],
    descriptors: npt.NDArray[np.floating],
    source: TruthSource,
    config: DatabaseConfig,
) -> Drive:
    """Hold N answers against the truth; `descriptors` (N, D) of unit length.

    `config` is that of the database which answered: it says what was too recent to be a loop.
    TruthError if the source knows no pose of any keyframe.
    """
    stamps = np.array([a.stamp_ns for a in answers], np.int64)
    truth = source.of(stamps, np.array([a.number for a in answers], np.int64))
    limits = first_recent(answers, config)
    nearest = truth.nearest(limits)
    scores = np.array([a.score for a in answers], np.float32).reshape(-1, 1)

    def judged(matches: list[int | None]) -> Judged:
        found = np.array([NOBODY if m is None else m for m in matches], np.int64)
        return judge(Ranked(found.reshape(-1, 1), scores), truth, nearest)

    best, match = judged([a.best for a in answers]), judged([a.match for a in answers])
    verdicts = []
    for i, answer in enumerate(answers):
        if not (truth.known if answer.match is None else match.known)[i]:
            outcome = Outcome.UNKNOWN
        elif answer.match is not None:
            outcome = Outcome.RIGHT if match.hits[i, 0] else Outcome.WRONG
        else:
            outcome = Outcome.NEW if nearest[i] == NOBODY else Outcome.MISSED
        true = None if nearest[i] == NOBODY else int(nearest[i])
        verdicts.append(Verdict(i, answer, outcome, true, bool(best.hits[i, 0])))
    return Drive(
        answers=answers,
        descriptors=descriptors,
        first_recent=limits,
        truth=truth,
        nearest=nearest,
        searched=judge(search(descriptors, descriptors, limits), truth, nearest),
        verdicts=verdicts,
        curve=best.curve,
    )


def first_recent(answers: list[Answer], config: DatabaseConfig) -> Indices:
    """For each keyframe the first that was too recent to be a loop (N,), as in the database."""
    span, count = int(config.exclude_recent_s * NS_PER_S), config.exclude_recent_keyframes
    limits = np.empty(len(answers), np.int64)
    for n, answer in enumerate(answers):
        before = ((k, answers[k].session, answers[k].stamp_ns) for k in range(n - 1, -1, -1))
        first = recency.first_recent(answer.stamp_ns, answer.session, before, span, count)
        limits[n] = n if first is None else first
    return limits
