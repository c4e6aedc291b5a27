# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command behind `vpr evaluate BAG`: one table, and a folder with all the rest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console

from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_files import write_config, write_keyframes, write_numbers
from vpr_ros.evaluation.bag_run import BagRun, Request, evaluate_bag
from vpr_ros.evaluation.comparison import SEQUENCE, Comparison, compare
from vpr_ros.evaluation.console import ended_by_signals, say, show
from vpr_ros.evaluation.metrics import Metrics, cleaned, measure, table
from vpr_ros.evaluation.progress import Progress
from vpr_ros.evaluation.report import write_report
from vpr_ros.evaluation.run_folder import latest, own_command, run_folder
from vpr_ros.evaluation.standing import standings_table


def run_evaluate(
    request: Request,
    output: Path,
    console: Console | None = None,
    *,
    baselines: bool = True,
    sequence: int = SEQUENCE,
) -> BagRun:
    """Evaluate, write `output`/<time>/, print. Raises VprError, with nothing left on the disk.

    With `baselines` they are measured on the same keyframes, each and the model also by sequences
    of so many keyframes; 0: not.
    """
    console, command = console or Console(), own_command()
    with (
        ended_by_signals(),
        run_folder(output) as folder,
        Bag(request.bag) as bag,
        Progress(console) as progress,
    ):
        run = evaluate_bag(bag, request, progress)
        metrics = measure(run) | {"command": command}
        compared = compare(run, bag, sequence, progress) if baselines else None
        if compared is not None:
            metrics |= numbers(compared)
        progress.say("Writing the report")
        write_numbers(folder / "metrics.json", metrics)
        write_config(folder / "config.yaml", run, command)
        write_keyframes(folder / "keyframes.csv", run)
        methods = standings_table(compared.standings, compared.notes) if compared else None
        write_report(folder / "report.html", run, bag, metrics, methods, command)
    show(console, table(metrics))
    if methods is not None:
        methods.print(console)
    say(console, f"Images: {run.topics.image}. Ground truth: {run.truth_text}.")
    say(console, f"Report: {latest(output) / 'report.html'}")
    return run


def numbers(compared: Comparison) -> Metrics:
    """For metrics.json."""
    return cleaned(
        {
            "methods": [dataclasses.asdict(one) for one in compared.standings],
            "methods_notes": list(compared.notes),
        }
    )
