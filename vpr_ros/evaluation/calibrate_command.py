# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command behind `vpr calibrate`: a table, a parameter file, a model that knows it all."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vpr_ros.core.battery import UNMEASURED
from vpr_ros.core.calibration import calibration_text
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_run import Request
from vpr_ros.evaluation.calibrate import Calibrated, CalibrationError, calibrate_bag
from vpr_ros.evaluation.calibrated_model import write_calibrated_model
from vpr_ros.evaluation.confidence import Interval
from vpr_ros.evaluation.console import ended_by_signals, say
from vpr_ros.evaluation.metrics import percent
from vpr_ros.evaluation.params import Settings, write_params
from vpr_ros.evaluation.progress import Progress
from vpr_ros.evaluation.run_folder import latest, own_command, run_folder

ENDS = (0.0, 0.6)  # calibrated besides the levels at which the governor sets the encoder


def run_calibrate(
    request: Request,
    sparsities: list[float],
    precision: float,
    output: Path,
    model_output: Path | None = None,
    console: Console | None = None,
) -> list[Calibrated]:
    """Calibrate, write `output`/<time>/{vpr.yaml,calibration.json}, print.

    Raises a VprError, with nothing left on the disk, if no threshold reaches the precision.
    """
    console, command = console or Console(), own_command()
    if not 0.5 <= precision <= 1.0:
        raise CalibrationError(f"Precision {precision:g} is out of range; give one in [0.5, 1].")
    encoder = Encoder(find_model(request.settings.model.model))
    contract = encoder.contract
    usual = {min(s, contract.sparsity_max) for s in (*ENDS, *(contract.levels or UNMEASURED))}
    chosen = sorted(set(sparsities) or usual)
    with (
        ended_by_signals(),
        run_folder(output) as folder,
        Bag(request.bag) as bag,
        Progress(console) as progress,
    ):
        found = calibrate_bag(bag, request, chosen, precision, progress)
        reached = [one for one in found if one.reached]
        if not reached:
            raise CalibrationError(
                f"No threshold can be given. {' '.join(one.remark for one in found)}"
            )
        settings = with_thresholds(request.settings, reached, contract.name, model_output)
        comment = heading(request, reached, model_output is not None, command)
        write_params(folder / "vpr.yaml", settings, comment)
        numbers = {"command": command, "calibrations": [to_json(one) for one in found]}
        (folder / "calibration.json").write_text(json.dumps(numbers, indent=2) + "\n")
        if model_output is not None:
            points = [one.calibration for one in reached]
            write_calibrated_model(encoder.path, model_output, contract, points)
    console.print(table(found))
    for one in found:
        if one.remark:
            say(console, one.remark)
    _say_where(console, latest(output), model_output)
    return found


def with_thresholds(
    settings: Settings, reached: list[Calibrated], model: str, model_output: Path | None
) -> Settings:
    """The parameters to launch with: thresholds and confidence of each sparsity.

    They stand in the parameters, or in the model file where there is one.
    """
    loop = dataclasses.replace(settings.loop, score_threshold=-1.0, margin_threshold=-1.0)
    if model_output is None:
        text = calibration_text((one.calibration for one in reached), model)
        return dataclasses.replace(settings, loop=dataclasses.replace(loop, calibration=text))
    name = str(model_output.expanduser().absolute())
    return dataclasses.replace(
        settings,
        loop=dataclasses.replace(loop, calibration=""),
        model=dataclasses.replace(settings.model, model=name),
    )


def heading(request: Request, reached: list[Calibrated], in_model: bool, command: str) -> str:
    """What a reader of the parameter file must know."""
    lines = [
        f"Calibrated on {request.bag}, model {request.settings.model.model}, by: {command}",
        "ros2 launch vpr_ros vpr.launch.py params_file:=<this file>",
    ]
    if not in_model:
        lines.append(
            "loop.calibration: model, then sparsity, score, margin, confidence slope and offset"
        )
    return "\n".join([*lines, *(one.remark for one in reached if one.remark)])


def table(found: list[Calibrated]) -> Table:
    """One line a quantity, one column a sparsity."""
    wanted = found[0].wanted
    shown = Table(
        title=f"Thresholds for {wanted:.1%} precision, all gates on", title_justify="left"
    )
    shown.add_column("sparsity")
    for one in found:
        shown.add_column(f"{one.calibration.sparsity:g}", justify="right")
    for name, cell in ROWS:
        shown.add_row(name, *map(cell, found))
    return shown


def to_json(one: Calibrated) -> dict[str, object]:
    """All of it, for machines; NaN becomes null."""
    values = dataclasses.asdict(one) | {"promised": one.promised, "remark": one.remark}
    cleaned = json.loads(json.dumps(values), parse_constant=lambda _: None)
    assert isinstance(cleaned, dict)
    return cleaned


def _say_where(console: Console, folder: Path, model_output: Path | None) -> None:
    if model_output is not None:
        say(console, f"Model with thresholds per sparsity and confidence: {model_output}")
    say(console, f"Parameters for the launch file: {folder / 'vpr.yaml'}")


def _range(interval: Interval, words: Callable[[float], str]) -> str:
    return f"{words(interval.low)} to {words(interval.high)}"


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.4f}"


def _share(part: int, total: int) -> str:
    return f"{percent(part / total)} ({part}/{total})" if total else "none"


ROWS: tuple[tuple[str, Callable[[Calibrated], str]], ...] = (
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
