# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command behind `vpr evaluate BAG`: one table, and a folder with all the rest."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_files import write_config, write_keyframes, write_numbers
from vpr_ros.evaluation.bag_run import BagRun, Request, evaluate_bag
from vpr_ros.evaluation.console import ended_by_signals, say, show
from vpr_ros.evaluation.metrics import measure, table
from vpr_ros.evaluation.progress import Progress
from vpr_ros.evaluation.report import write_report
from vpr_ros.evaluation.run_folder import latest, own_command, run_folder


def run_evaluate(request: Request, output: Path, console: Console | None = None) -> BagRun:
    """Evaluate, write `output`/<time>/, print. Raises VprError, with nothing left on the disk."""
    console, command = console or Console(), own_command()
    with (
        ended_by_signals(),
        run_folder(output) as folder,
        Bag(request.bag) as bag,
        Progress(console) as progress,
    ):
        run = evaluate_bag(bag, request, progress)
        progress.say("Writing the report")
        metrics = measure(run) | {"command": command}
        write_numbers(folder / "metrics.json", metrics)
        write_config(folder / "config.yaml", run, command)
        write_keyframes(folder / "keyframes.csv", run)
        write_report(folder / "report.html", run, bag, metrics, command)
    show(console, table(metrics))
    say(console, f"Images: {run.topics.image}. Ground truth: {run.truth_text}.")
    say(console, f"Report: {latest(output) / 'report.html'}")
    return run
