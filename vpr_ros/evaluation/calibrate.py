# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds and confidence from a bag: one calibration for each sparsity."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.loop_detector import LoopConfig, Reason
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_run import Request, counted, require_keyframes, truth_of
from vpr_ros.evaluation.confidence import (
    Interval,
    bootstrap,
    fit_logistic,
    held_out,
    lower_bound,
    needed,
)
from vpr_ros.evaluation.images import choose_topics
from vpr_ros.evaluation.judge import Judgement, judge
from vpr_ros.evaluation.metrics import percent
from vpr_ros.evaluation.neighbours import find_neighbours
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.progress import Progress
from vpr_ros.evaluation.replay import Eyes, Memory, Seen, first_recent, keyframes
from vpr_ros.evaluation.tally import Outcome
from vpr_ros.evaluation.threshold import Limits, Points, choose_limits
from vpr_ros.evaluation.truth_source import TruthSource, find_truth

OPEN = -0.9999  # a threshold that everything reaches; -1 would mean the model's own
ROUNDING = 1e-4


class CalibrationError(VprError):
    """The bag does not allow what was asked for."""


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """What was found at one sparsity; NaN where no threshold reaches the precision."""

    calibration: Calibration
    wanted: float  # precision
    revisits: int
    right: int  # closures with these thresholds, all gates on
    wrong: int
    recall: float
    precision_interval: Interval  # bootstrap
    threshold_interval: Interval  # bootstrap, of the score
    held_out: tuple[int, int]  # right, all, with thresholds from other parts of the drive
    at_least: float  # precision that the number of closures supports, 95 % confidence

    @property
    def reached(self) -> bool:
        """Is there a threshold at all?"""
        return not math.isnan(self.calibration.score_threshold)

    @property
    def promised(self) -> bool:
        """Are there closures enough to promise the precision?"""
        return self.reached and self.at_least >= self.wanted

    @property
    def remark(self) -> str:
        """What the user must know, in one sentence; empty if all is well."""
        where = f"Sparsity {self.calibration.sparsity:g}"
        if not self.revisits:
            return f"{where}: the bag has no loop, so nothing can be said. Drive a route twice."
        if not self.reached:
            return f"{where}: no threshold reaches {percent(self.wanted)} on this bag."
        if self.promised:
            return ""
        more = needed(self.wanted)
        enough = f"{more} without a mistake are needed" if more else "no number is enough"
        return (
            f"{where}: too few loops to promise {percent(self.wanted)}: {self.right} right of "
            f"{self.right + self.wrong} closures support {percent(self.at_least)} (95 % "
            f"confidence); {enough}."
        )


def calibrate_bag(
    bag: Bag, request: Request, sparsities: list[float], precision: float, progress: Progress
) -> list[Calibrated]:
    """Calibrate at every sparsity. Raises a VprError on a bad bag, truth, model or sparsity."""
    settings = request.settings
    encoder = Encoder(find_model(settings.model.model), settings.model.threads)
    for sparsity in sparsities:
        encoder.check_sparsity(sparsity)
    topics = choose_topics(bag, request.image, request.odometry)
    source = find_truth(bag, request.truth, request.rule, topics.odometry, request.truth_frame)
    found = []
    for sparsity in sparsities:
        at = dataclasses.replace(
            settings, model=dataclasses.replace(settings.model, sparsity=sparsity)
        )
        eyes = Eyes(encoder, at)
        seen = list(keyframes(counted(bag, topics, progress), eyes))
        require_keyframes(eyes, bag, topics)
        progress.say(f"Calibrating at sparsity {sparsity:g}")
        found.append(calibrate(seen, at, source, precision))
    return found


def calibrate(
    seen: list[Seen], settings: Settings, source: TruthSource, precision: float
) -> Calibrated:
    """The calibration for keyframes that were seen at one sparsity.

    Thresholds are for what a robot publishes: they are chosen among the matches that the
    temporal and the geometric gate of `settings` let through, then checked by a replay.
    """
    opened = dataclasses.replace(settings.loop, score_threshold=OPEN, margin_threshold=OPEN)
    judged = _replay(seen, settings, opened, source)
    points = gated_points(judged)
    limits = choose_limits(points, precision)
    slope, offset = fit_logistic(points.score, points.right)
    sparsity = settings.model.sparsity
    nothing = Interval(math.nan, math.nan)
    if limits is None:
        return Calibrated(
            Calibration(sparsity, confidence_slope=slope, confidence_offset=offset),
            precision, judged.revisits, 0, 0, math.nan, nothing, nothing, (0, 0), 0.0,
        )  # fmt: skip
    limits = _rounded(limits, points)
    closed = dataclasses.replace(
        settings.loop, score_threshold=limits.score, margin_threshold=limits.margin
    )
    checked = _replay(seen, settings, closed, source)
    right, wrong = checked.count(Outcome.RIGHT), checked.count(Outcome.WRONG)
    of_precision, of_score = bootstrap(points, limits, precision)
    return Calibrated(
        Calibration(sparsity, limits.score, limits.margin, slope, offset),
        precision,
        checked.revisits,
        right,
        wrong,
        checked.recall,
        of_precision,
        of_score,
        held_out(points, precision, limits.margin),
        lower_bound(right, right + wrong),
    )


def _replay(
    seen: list[Seen], settings: Settings, loop: LoopConfig, source: TruthSource
) -> Judgement:
    memory = Memory(loop, settings.database)
    for one in seen:
        memory.ask(one)
    truth = truth_of(source, memory.answers)
    limits = first_recent(memory.answers, settings.database)
    return judge(memory.answers, truth, find_neighbours(memory.descriptors, limits, truth))


def gated_points(judged: Judgement) -> Points:
    """The matches that passed the temporal and the geometric gate and can be judged.

    The gates ask for the score of the most similar keyframe, so that is the score here; right
    or wrong is the match, which may be another keyframe of the same place
    (`loop.verified_candidates`).
    """
    passed = [
        v
        for v in judged.verdicts
        if v.answer.reason is Reason.ACCEPTED and v.outcome is not Outcome.UNKNOWN
    ]
    return Points(
        np.array([v.answer.score for v in passed], np.float64),
        np.array([v.answer.margin for v in passed], np.float64),
        np.array([v.outcome is Outcome.RIGHT for v in passed], bool),
        np.array([v.index for v in passed], np.int64),
    )


def _rounded(limits: Limits, points: Points) -> Limits:
    """A score threshold that people can read, if it accepts the same."""
    short = Limits(math.floor(limits.score / ROUNDING) * ROUNDING, limits.margin)
    short = Limits(round(short.score, 6), round(short.margin, 6))
    same = np.array_equal(points.accepted(short), points.accepted(limits))
    return short if same else limits
