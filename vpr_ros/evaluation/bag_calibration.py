# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thresholds and confidence from a bag: one calibration per sparsity."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.loop_detector import LoopConfig, Reason
from vpr_ros.evaluation.bag import Bag, choose_topics
from vpr_ros.evaluation.bag_run import Request
from vpr_ros.evaluation.confidence import (
    UNDEFINED,
    Interval,
    Matches,
    Thresholds,
    bootstrap,
    choose_thresholds,
    fit_logistic,
    held_out,
    lower_bound,
    needed,
)
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.evaluated_drive import Drive, Outcome, evaluate_drive
from vpr_ros.evaluation.metrics import percent
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.replay import DatabaseReplay, EncodedImage, EncoderReplay
from vpr_ros.evaluation.truth_source import TruthSource, find_truth

OPEN = -0.9999  # a threshold that everything reaches; -1 would mean the model's own
ROUNDING = 1e-4


class CalibrationError(VprError):
    """The bag does not allow what was asked for."""


@dataclasses.dataclass(frozen=True)
class CalibrationResult:
    """What was found at one sparsity; NaN where no threshold reaches the precision."""

    calibration: Calibration
    wanted: float  # precision
    revisits: int
    right: int = 0  # closures with these thresholds, all gates on
    wrong: int = 0
    precision_interval: Interval = UNDEFINED  # bootstrap
    threshold_interval: Interval = UNDEFINED  # bootstrap, of the score
    held_out: tuple[int, int] = (0, 0)  # right, all, with thresholds from other parts of the drive
    at_least: float = 0.0  # precision that the number of closures supports, 95 % confidence

    @property
    def reached(self) -> bool:
        """Is there a threshold at all?"""
        return not math.isnan(self.calibration.score_threshold)

    @property
    def promised(self) -> bool:
        """Are there enough closures to promise the precision?"""
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
    bag: Bag,
    encoder: Encoder,
    request: Request,
    sparsities: list[float],
    precision: float,
    progress: Progress,
) -> list[CalibrationResult]:
    """Calibrate at every sparsity. Raises a VprError on a bad bag, truth or sparsity."""
    for sparsity in sparsities:
        encoder.check_sparsity(sparsity)
    topics = choose_topics(bag, request.image, request.odometry)
    source = find_truth(bag, request.truth, request.rule, topics.odometry, request.truth_frame)
    found = []
    for sparsity in sparsities:
        model = dataclasses.replace(request.settings.model, sparsity=sparsity)
        settings = dataclasses.replace(request.settings, model=model)
        encoded = list(EncoderReplay(encoder, settings).keyframes(bag, topics, progress))
        progress.start(f"Calibrating at sparsity {sparsity:g}")
        found.append(calibrate(encoded, settings, source, precision))
    return found


def calibrate(
    encoded: list[EncodedImage], settings: Settings, source: TruthSource, precision: float
) -> CalibrationResult:
    """The calibration for keyframes that were encoded at one sparsity.

    Thresholds are for what a robot publishes: they are chosen among the matches that the
    temporal and the geometric gate of `settings` let through, then checked by a replay.
    """
    opened = dataclasses.replace(settings.loop, score_threshold=OPEN, margin_threshold=OPEN)
    drive = _replay(encoded, settings, opened, source)
    matches = gated_matches(drive)
    thresholds = choose_thresholds(matches, precision)
    slope, offset = fit_logistic(matches.score, matches.right)
    fitted = Calibration(settings.model.sparsity, confidence_slope=slope, confidence_offset=offset)
    if thresholds is None:
        return CalibrationResult(fitted, precision, drive.revisits)
    thresholds = _rounded(thresholds, matches)
    score, margin = thresholds.score, thresholds.margin
    loop = dataclasses.replace(settings.loop, score_threshold=score, margin_threshold=margin)
    checked = _replay(encoded, settings, loop, source)
    right, wrong = checked.count(Outcome.RIGHT), checked.count(Outcome.WRONG)
    of_precision, of_score = bootstrap(matches, thresholds, precision)
    return CalibrationResult(
        dataclasses.replace(fitted, score_threshold=score, margin_threshold=margin),
        precision,
        checked.revisits,
        right,
        wrong,
        of_precision,
        of_score,
        held_out(matches, precision, margin),
        lower_bound(right, right + wrong),
    )


def _replay(
    encoded: list[EncodedImage], settings: Settings, loop: LoopConfig, source: TruthSource
) -> Drive:
    memory = DatabaseReplay(loop, settings.database)
    for one in encoded:
        memory.answer(one)
    return evaluate_drive(memory.answers, memory.descriptors, source, settings.database)


def gated_matches(drive: Drive) -> Matches:
    """The matches that passed the temporal and the geometric gate and can be judged.

    The gates test the score of the most similar keyframe, so that is the score here; right or
    wrong is the match, which may be another keyframe of the same place
    (`loop.verified_candidates`).
    """
    passed = [
        v
        for v in drive.verdicts
        if v.answer.reason is Reason.ACCEPTED and v.outcome is not Outcome.UNKNOWN
    ]
    return Matches(
        np.array([v.answer.score for v in passed], np.float64),
        np.array([v.answer.margin for v in passed], np.float64),
        np.array([v.outcome is Outcome.RIGHT for v in passed], bool),
        np.array([v.index for v in passed], np.int64),
    )


def _rounded(thresholds: Thresholds, matches: Matches) -> Thresholds:
    """A score threshold that people can read, if it accepts the same."""
    score = math.floor(thresholds.score / ROUNDING) * ROUNDING
    short = Thresholds(round(score, 6), round(thresholds.margin, 6))
    same = np.array_equal(matches.accepted(short), matches.accepted(thresholds))
    return short if same else thresholds
