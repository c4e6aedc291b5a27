# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr calibrate`: thresholds from a bag, one set per sparsity."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from vpr_ros.core.battery import UNMEASURED
from vpr_ros.core.calibration import Calibration, calibration_text
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import Reason
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.bag import Bag, choose_topics
from vpr_ros.evaluation.confidence import (
    UNDEFINED,
    Interval,
    Matches,
    Thresholds,
    bootstrap,
    choose_thresholds,
    held_out,
    lower_bound,
    needed,
)
from vpr_ros.evaluation.console import Progress, TextTable, say
from vpr_ros.evaluation.evaluated_drive import Drive, Outcome, evaluate_drive
from vpr_ros.evaluation.metrics import percent
from vpr_ros.evaluation.params import Settings, write_params
from vpr_ros.evaluation.replay import EncodedImage, EncoderReplay, Request, replay_database
from vpr_ros.evaluation.run_folder import latest, own_command, run_folder, write_json
from vpr_ros.evaluation.truth_source import TruthSource, find_truth

ENDS = (0.0, 0.6)  # calibrated besides the sparsities that the battery sets
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
    right: int = 0  # closures with these thresholds
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


# Writes a copy of the model file (first path) with these calibrations to the second path. It
# needs the onnx package, which evaluation does without: the command passes it in.
WriteModel = Callable[[Path, Path, list[Calibration]], None]


def run_calibrate(
    request: Request,
    sparsities: list[float],
    precision: float,
    output: Path,
    model_output: Path | None = None,
    write_model: WriteModel | None = None,
) -> list[CalibrationResult]:
    """Calibrate, write `output`/<time>/{vpr.yaml,calibration.json}, print.

    With `model_output` and `write_model` the thresholds go into a copy of the model. Raises a
    VprError, with nothing left on the disk, if no threshold reaches the precision.
    """
    console, command = Console(), own_command()
    if not 0.5 <= precision <= 1.0:
        raise CalibrationError(f"Precision {precision:g} is out of range; give one in [0.5, 1].")
    settings = request.settings
    encoder = Encoder(find_model(settings.model.model), settings.model.threads)
    contract = encoder.contract
    usual = {min(s, contract.sparsity_max) for s in (*ENDS, *(contract.levels or UNMEASURED))}
    chosen = sorted(set(sparsities) or usual)
    for sparsity in chosen:
        encoder.check_sparsity(sparsity)
    with (
        run_folder(output) as folder,
        Bag(request.bag) as bag,
        Progress(console) as progress,
    ):
        topics = choose_topics(bag, request.image, request.odometry)
        source = find_truth(bag, request.truth, request.rule, topics.odometry, request.truth_frame)
        found = []
        for sparsity in chosen:
            model = dataclasses.replace(settings.model, sparsity=sparsity)
            own = dataclasses.replace(settings, model=model)
            encoded = list(EncoderReplay(encoder, own).keyframes(bag, topics, progress))
            progress.begin(f"Calibrating at sparsity {sparsity:g}")
            found.append(calibrate(encoded, own, source, precision))
        reached = [one for one in found if one.reached]
        if not reached:
            raise CalibrationError(
                f"No threshold can be given. {' '.join(one.remark for one in found)}"
            )
        points = [one.calibration for one in reached]
        heading = [
            f"Calibrated on {request.bag}, model {settings.model.model}, by: {command}",
            "ros2 launch vpr_ros vpr.launch.py params_file:=<this file>",
        ]
        table = ""
        if not model_output:
            table = calibration_text(points, contract.name, encoder.digest)
            heading.append("loop.calibration: model, weights, then sparsity, score and margin")
        heading += [one.remark for one in reached if one.remark]
        launched = with_thresholds(settings, table, model_output)
        write_params(folder / "vpr.yaml", launched, "\n".join(heading))
        calibrations = [
            {**dataclasses.asdict(one), "promised": one.promised, "remark": one.remark}
            for one in found
        ]
        numbers = {"command": command, "calibrations": calibrations}
        write_json(folder / "calibration.json", numbers)
        if model_output and write_model:
            write_model(encoder.path, model_output, points)
    results_table(found).print(console)
    if model_output:
        say(console, f"Model with thresholds per sparsity: {model_output}")
    say(console, f"Parameters for the launch file: {latest(output) / 'vpr.yaml'}")
    return found


def with_thresholds(settings: Settings, table: str, model_output: Path | None) -> Settings:
    """The parameters to launch with: the table of thresholds, or the model that carries them."""
    loop = dataclasses.replace(
        settings.loop, score_threshold=-1.0, margin_threshold=-1.0, calibration=table
    )
    model = settings.model
    if model_output:
        model = dataclasses.replace(model, model=str(model_output.expanduser().absolute()))
    return dataclasses.replace(settings, loop=loop, model=model)


def calibrate(
    encoded: list[EncodedImage], settings: Settings, source: TruthSource, precision: float
) -> CalibrationResult:
    """The calibration for keyframes that were encoded at one sparsity.

    Thresholds are for what a robot publishes: they are chosen among the matches that all
    other evidence, under `settings`, accepts, then checked by a replay.
    """
    opened = dataclasses.replace(settings.loop, score_threshold=OPEN, margin_threshold=OPEN)
    drive = _replay(encoded, settings, opened, source)
    matches = closed_matches(drive)
    thresholds = choose_thresholds(matches, precision)
    sparsity = settings.model.sparsity
    if thresholds is None:
        return CalibrationResult(Calibration(sparsity), precision, drive.revisits)
    thresholds = _rounded(thresholds, matches)
    score, margin = thresholds.score, thresholds.margin
    loop = dataclasses.replace(settings.loop, score_threshold=score, margin_threshold=margin)
    checked = _replay(encoded, settings, loop, source)
    right, wrong = checked.count(Outcome.RIGHT), checked.count(Outcome.WRONG)
    of_precision, of_score = bootstrap(matches, thresholds, precision)
    return CalibrationResult(
        Calibration(sparsity, score, margin),
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
    replay = replay_database(encoded, loop, settings.database)
    return evaluate_drive(replay.answers, replay.descriptors, source, settings.database)


def closed_matches(drive: Drive) -> Matches:
    """The matches that all other evidence accepts and that can be judged.

    The threshold tests the score of the most similar keyframe, so that is the score here; right
    or wrong is the match, which may be another keyframe.
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


def results_table(found: list[CalibrationResult]) -> TextTable:
    """One line per quantity, one column per sparsity; what the user must know below it."""
    title = f"Thresholds for {found[0].wanted:.1%} precision"
    headings = ("sparsity", *(f"{one.calibration.sparsity:g}" for one in found))
    rows = tuple((name, *map(cell, found)) for name, cell in ROWS)
    return TextTable(title, headings, rows, tuple(one.remark for one in found if one.remark))


def _range(interval: Interval, text: Callable[[float], str]) -> str:
    return f"{text(interval.low)} to {text(interval.high)}"


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.4f}"


def _share(part: int, total: int) -> str:
    return f"{percent(part / total)} ({part}/{total})" if total else "none"


ROWS: tuple[tuple[str, Callable[[CalibrationResult], str]], ...] = (
    ("score >= [cosine]", lambda c: _number(c.calibration.score_threshold)),
    ("  bootstrap, 95 %", lambda c: _range(c.threshold_interval, _number)),
    ("margin >= [cosine]", lambda c: _number(c.calibration.margin_threshold)),
    ("precision", lambda c: _share(c.right, c.right + c.wrong)),
    ("  bootstrap, 95 %", lambda c: _range(c.precision_interval, percent)),
    ("  at least, 95 % confidence", lambda c: percent(c.at_least)),
    ("  held out, fifths of the drive", lambda c: _share(*c.held_out)),
    ("recall", lambda c: _share(c.right, c.revisits)),
)
