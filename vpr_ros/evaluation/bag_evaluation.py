# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr evaluate`: one table, and a folder with all the rest."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from rich.console import Console

from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_run import BagRun, Request, run_bag, run_rows
from vpr_ros.evaluation.comparison import compare
from vpr_ros.evaluation.console import Progress, say, show
from vpr_ros.evaluation.evaluated_drive import Drive
from vpr_ros.evaluation.params import write_params
from vpr_ros.evaluation.report import write_report
from vpr_ros.evaluation.run_folder import latest, own_command, run_folder, write_json

SEQUENCE = 10  # keyframes; 0: no sequence matching
COLUMNS = (
    "keyframe", "image", "stamp_ns", "outcome", "reason", "best", "score", "margin", "match",
    "inliers", "nearest_true", "encode_ms", "search_ms",
)  # fmt: skip


def run_evaluate(
    request: Request,
    output: Path,
    *,
    baselines: bool = True,
    sequence: int = SEQUENCE,
) -> BagRun:
    """Evaluate, write `output`/<time>/, print. Raises VprError, with nothing left on the disk.

    With `baselines` they are measured on the same keyframes, each and the model also by sequences
    of so many keyframes; 0: not.
    """
    console, command = Console(), own_command()
    with (
        run_folder(output) as folder,
        Bag(request.bag) as bag,
        Progress(console) as progress,
    ):
        run = run_bag(bag, request, progress)
        metrics = run.metrics | {"command": command}
        methods = None
        if baselines:
            compared = compare(run, bag, sequence, progress)
            methods = compared.table()
            metrics["methods"] = [dataclasses.asdict(one) for one in compared.results]
            metrics["methods_notes"] = compared.notes
        progress.begin("Writing the report")
        write_json(folder / "metrics.json", metrics)
        write_params(folder / "config.yaml", request.settings, _heading(run, command))
        write_keyframes(folder / "keyframes.csv", run.drive)
        write_report(folder / "report.html", run, bag, metrics, methods)
    show(console, run_rows(metrics))
    if methods is not None:
        methods.print(console)
    say(console, f"Images: {run.topics.image}. Ground truth: {run.truth_text}.")
    say(console, f"Report: {latest(output) / 'report.html'}")
    return run


def _heading(run: BagRun, command: str) -> str:
    """What a reader of config.yaml must know besides the nodes' parameters."""
    return (
        f"Evaluated by: {command}\n"
        f"bag: {run.request.bag}\nimages: {run.topics.image}\n"
        f"odometry of the gate: {run.topics.odometry or 'none'}\nground truth: {run.truth_text}\n"
        f"true loop: {run.drive.truth.rule}"
    )


def write_keyframes(path: Path, drive: Drive) -> None:
    """Write one line per keyframe: the answer, and what would have been right."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for verdict in drive.verdicts:
            a = verdict.answer
            row = (
                verdict.index, a.number, a.stamp_ns, verdict.outcome.name, a.reason.name, a.best,
                f"{a.score:.5f}", f"{a.margin:.5f}", a.match, a.inliers, verdict.true,
                f"{a.encode_ms:.2f}", f"{a.search_ms:.2f}",
            )  # fmt: skip
            table.writerow(["" if value in (None, "nan") else value for value in row])
