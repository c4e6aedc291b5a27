# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr calibrate`: a table, a parameter file, a copy of the model."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from vpr_ros.core.battery import UNMEASURED
from vpr_ros.core.calibration import Calibration, calibration_text
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_calibration import CalibrationError, CalibrationResult, calibrate_bag
from vpr_ros.evaluation.bag_run import Request
from vpr_ros.evaluation.confidence import Interval
from vpr_ros.evaluation.console import Progress, TextTable, ended_by_signals, say
from vpr_ros.evaluation.metrics import percent, without_nan
from vpr_ros.evaluation.params import Settings, write_params
from vpr_ros.evaluation.run_folder import latest, own_command, run_folder

ENDS = (0.0, 0.6)  # calibrated besides the sparsities that the battery sets

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
    console: Console | None = None,
) -> list[CalibrationResult]:
    """Calibrate, write `output`/<time>/{vpr.yaml,calibration.json}, print.

    With `model_output` and `write_model` the thresholds go into a copy of the model. Raises a
    VprError, with nothing left on the disk, if no threshold reaches the precision.
    """
    console, command = console or Console(), own_command()
    if not 0.5 <= precision <= 1.0:
        raise CalibrationError(f"Precision {precision:g} is out of range; give one in [0.5, 1].")
    settings = request.settings
    encoder = Encoder(find_model(settings.model.model), settings.model.threads)
    contract = encoder.contract
    usual = {min(s, contract.sparsity_max) for s in (*ENDS, *(contract.levels or UNMEASURED))}
    chosen = sorted(set(sparsities) or usual)
    with (
        ended_by_signals(),
        run_folder(output) as folder,
        Bag(request.bag) as bag,
        Progress(console) as progress,
    ):
        found = calibrate_bag(bag, encoder, request, chosen, precision, progress)
        reached = [one for one in found if one.reached]
        if not reached:
            raise CalibrationError(
                f"No threshold can be given. {' '.join(one.remark for one in found)}"
            )
        points = [one.calibration for one in reached]
        table = "" if model_output else calibration_text(points, contract.name)
        heading = _heading(request, reached, bool(table), command)
        write_params(folder / "vpr.yaml", with_thresholds(settings, table, model_output), heading)
        numbers = {"command": command, "calibrations": [_numbers(one) for one in found]}
        (folder / "calibration.json").write_text(json.dumps(numbers, indent=2) + "\n")
        if model_output and write_model:
            write_model(encoder.path, model_output, points)
    results_table(found).print(console)
    if model_output:
        say(console, f"Model with thresholds per sparsity and confidence: {model_output}")
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


def _heading(
    request: Request, reached: list[CalibrationResult], in_table: bool, command: str
) -> str:
    """What a reader of the parameter file must know."""
    lines = [
        f"Calibrated on {request.bag}, model {request.settings.model.model}, by: {command}",
        "ros2 launch vpr_ros vpr.launch.py params_file:=<this file>",
    ]
    if in_table:
        lines.append(
            "loop.calibration: model, then sparsity, score, margin, confidence slope and offset"
        )
    return "\n".join([*lines, *(one.remark for one in reached if one.remark)])


def _numbers(one: CalibrationResult) -> object:
    values = dataclasses.asdict(one) | {"promised": one.promised, "remark": one.remark}
    return without_nan(values)


def results_table(found: list[CalibrationResult]) -> TextTable:
    """One line per quantity, one column per sparsity; what the user must know below it."""
    title = f"Thresholds for {found[0].wanted:.1%} precision, all gates on"
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
    ("confidence: slope", lambda c: _number(c.calibration.confidence_slope)),
    ("confidence: offset", lambda c: _number(c.calibration.confidence_offset)),
)
