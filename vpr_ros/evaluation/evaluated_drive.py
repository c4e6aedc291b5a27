# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One drive, evaluated: what became of every keyframe, by the ground truth."""

from __future__ import annotations

import dataclasses
import enum
import math

import numpy as np
import numpy.typing as npt

from vpr_ros.core.database import DatabaseConfig
from vpr_ros.core.keyframe import NS_PER_S
from vpr_ros.evaluation.precision_recall import Curve, precision_recall
from vpr_ros.evaluation.replay import Answer
from vpr_ros.evaluation.search import NOBODY, Ranked, search_older
from vpr_ros.evaluation.truth import Indices, Mask, Truth, nearest_true
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
    best_right: bool  # is the most similar keyframe right, before the gates?


@dataclasses.dataclass(frozen=True)
class Drive:
    """All keyframes of a drive; shares are NaN where there is nothing to divide by."""

    answers: list[Answer]  # N
    descriptors: npt.NDArray[np.floating]  # (N, D)
    first_recent: Indices  # (N,) the first keyframe that was too recent to be a loop
    truth: Truth
    nearest: Indices  # (N,) the nearest true older keyframe, -1: nothing to find
    ranked: Ranked  # exhaustive search among all older keyframes, without the database's bound
    verdicts: list[Verdict]  # N
    curve: Curve  # of the scores alone, without the other gates

    def of(self, outcome: Outcome) -> list[Verdict]:
        """The keyframes of this outcome."""
        return [v for v in self.verdicts if v.outcome is outcome]

    def count(self, outcome: Outcome) -> int:
        """Number of keyframes of this outcome."""
        return len(self.of(outcome))

    @property
    def revisits(self) -> int:
        """Keyframes that have a true older place."""
        return int((self.nearest >= 0).sum())

    @property
    def precision(self) -> float:
        """Right closures / closures that can be judged."""
        right, wrong = self.count(Outcome.RIGHT), self.count(Outcome.WRONG)
        return right / (right + wrong) if right + wrong else math.nan

    @property
    def recall(self) -> float:
        """Keyframes with a right closure / keyframes with a true older place."""
        return self.count(Outcome.RIGHT) / self.revisits if self.revisits else math.nan

    def recall_at(self, k: int) -> float:
        """Share of the revisits with a right place among the k most similar older keyframes."""
        return recall_at(self.ranked, self.truth, self.nearest, k)

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
    nearest = nearest_true(truth, limits)
    best = np.array([NOBODY if a.best is None else a.best for a in answers], np.int64)
    score = np.array([a.score for a in answers], np.float64)
    return Drive(
        answers=answers,
        descriptors=descriptors,
        first_recent=limits,
        truth=truth,
        nearest=nearest,
        ranked=search_older(descriptors, limits),
        verdicts=_verdicts(answers, truth, nearest, best),
        curve=score_curve(best, score, truth, nearest),
    )


def _verdicts(
    answers: list[Answer], truth: Truth, nearest: Indices, best: Indices
) -> list[Verdict]:
    match = np.array([NOBODY if a.match is None else a.match for a in answers], np.int64)
    rows = np.arange(len(answers))
    best_right = _right(truth, rows, best)
    match_right = _right(truth, rows, match)
    known = truth.known & ((match == NOBODY) | truth.can_match[match])
    verdicts = []
    for i, answer in enumerate(answers):
        if not known[i]:
            outcome = Outcome.UNKNOWN
        elif answer.match is not None:
            outcome = Outcome.RIGHT if match_right[i] else Outcome.WRONG
        else:
            outcome = Outcome.MISSED if nearest[i] >= 0 else Outcome.NEW
        true = int(nearest[i]) if nearest[i] >= 0 else None
        verdicts.append(Verdict(i, answer, outcome, true, bool(best_right[i])))
    return verdicts


def score_curve(
    best: Indices, score: npt.NDArray[np.floating], truth: Truth, nearest: Indices
) -> Curve:
    """The curve of the best matches (N,) and their scores (N,); NOBODY: no match.

    Matches that the truth does not know are left out.
    """
    rows = np.flatnonzero((best != NOBODY) & truth.known & truth.can_match[best])
    right = truth.same(rows, best[rows])
    return precision_recall(score[rows], right, possible=int((nearest >= 0).sum()))


def recall_at(ranked: Ranked, truth: Truth, nearest: Indices, k: int) -> float:
    """Share of the revisits with a right place among the first k; NaN without revisits."""
    revisits = np.flatnonzero(nearest >= 0)
    if not len(revisits):
        return math.nan
    found = _right(truth, revisits[:, np.newaxis], ranked.indices[revisits, :k])
    return float(found.any(axis=1).mean())


def _right(truth: Truth, rows: Indices, matches: Indices) -> Mask:
    """Is there a match, and does it show the place? The shapes are broadcast."""
    return np.asarray(truth.same(rows, matches) & (matches != NOBODY))


def first_recent(answers: list[Answer], config: DatabaseConfig) -> Indices:
    """For each keyframe the first that was too recent for it to be a loop (N,).

    The rule of Database.search_older: recent is what is younger than exclude_recent_s, or among
    the last exclude_recent_keyframes, in one stretch of rising time.
    """
    stamps = np.array([a.stamp_ns for a in answers], np.int64)
    sessions = np.array([a.session for a in answers], np.int64)
    limits = np.empty(len(answers), np.int64)
    for session in np.unique(sessions):
        own = np.flatnonzero(sessions == session)
        start = own[0]
        oldest = stamps[own] - int(config.exclude_recent_s * NS_PER_S)
        by_time = start + np.searchsorted(stamps[own], oldest)
        by_count = np.maximum(start, own - config.exclude_recent_keyframes)
        limits[own] = np.minimum(by_time, by_count)
    return limits
