# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes what an evaluation of a bag leaves behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.metrics import Metrics
from vpr_ros.evaluation.params import write_params

COLUMNS = (
    "keyframe", "image", "stamp_ns", "outcome", "reason", "best", "score", "margin", "match",
    "inliers", "nearest_true", "encode_ms", "search_ms",
)  # fmt: skip


def write_numbers(path: Path, metrics: Metrics) -> None:
    """The numbers as JSON."""
    path.write_text(json.dumps(metrics, indent=2) + "\n")


def write_config(path: Path, run: BagRun, command: str) -> None:
    """The nodes' parameters, for the launch file's params_file; the rest as its comment."""
    request = run.request
    heading = (
        f"Evaluated by: {command}\n"
        f"bag: {request.bag}\nimages: {run.topics.image}\n"
        f"odometry of the gate: {run.topics.odometry or 'none'}\nground truth: {run.truth_text}\n"
        f"true loop: {request.rule.metres:g} m, {request.rule.degrees:g} degrees; in a list of "
        f"pairs: {request.rule.frames} images"
    )
    write_params(path, run.settings, heading)


def write_keyframes(path: Path, run: BagRun) -> None:
    """One line a keyframe: what was answered, and what would have been right."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for verdict in run.judgement.verdicts:
            a = verdict.answer
            row = (
                verdict.index, a.number, a.stamp_ns, verdict.outcome.name, a.reason.name, a.best,
                f"{a.score:.5f}", f"{a.margin:.5f}", a.match, a.inliers, verdict.true,
                f"{a.encode_ms:.2f}", f"{a.search_ms:.2f}",
            )  # fmt: skip
            table.writerow(["" if value in (None, "nan") else value for value in row])
