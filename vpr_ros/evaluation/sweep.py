# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the dial buys: recall against multiplications, time and size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.console import say
from vpr_ros.evaluation.dataset_run import measure_all
from vpr_ros.evaluation.datasets.image_set import ImageSet, read_image
from vpr_ros.evaluation.datasets.layouts import open_dataset
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.evaluation.methods import (
    BASELINES,
    Model,
    baseline_models,
    open_method,
    tell_apart,
)
from vpr_ros.evaluation.ranking import RANKS
from vpr_ros.evaluation.retrieval import Row
from vpr_ros.evaluation.run_folder import RESULTS, latest, own_command, run_folder
from vpr_ros.evaluation.sweep_figure import write_sweep_figure
from vpr_ros.evaluation.sweep_point import Point
from vpr_ros.evaluation.tables import TextTable
from vpr_ros.evaluation.timing import network_ms

STEPS = (0.0, 0.2, 0.4, 0.6)  # the published ones and one more

# Multiply-accumulates per image of a model file, by sparsity. Counting needs the onnx package,
# which evaluation does without: the command hands the counter in.
CountMacs = Callable[[Path], dict[float, int]]


def run_sweep(
    path: Path,
    models: Sequence[str],
    sparsities: Sequence[float] = STEPS,
    *,
    baselines: bool = True,
    options: DatasetOptions | None = None,
    threads: int = 1,
    results: Path = RESULTS,
    count_macs: CountMacs | None = None,
    console: Console | None = None,
) -> list[Point]:
    """Measure, print and write `results`/<time>/{metrics.json,tables.md,sweep.png}.

    Without `count_macs` that column stays empty and the figure shows milliseconds.
    """
    console = console or Console()
    if set(models) & set(BASELINES):
        raise ConfigError(
            f"{', '.join(BASELINES)} are baselines, not models; they come by default."
        )
    image_set = open_dataset(path, options)
    steps = sorted({0.0, *sparsities})  # 0: the map of the last column
    beside = baseline_models(models) if baselines else ()
    opened = [Model(name, threads) for name in (*models, *beside)]
    tell_apart(opened)
    points = []
    for model in opened:
        rows = measure_all(image_set, [model], steps, console)
        macs = count_macs(model.encoder.path) if count_macs else {}
        points += _points(model, rows, macs, image_set)
    if baselines:
        methods = [open_method(name) for name in BASELINES]
        points += [_baseline(row) for row in measure_all(image_set, methods, steps, console)]
    table = sweep_table(image_set, points, threads, count_macs is not None)
    metrics = {
        "command": own_command(),
        "dataset": image_set.name,
        "right": image_set.rule,
        "threads": threads,
        "points": [dataclasses.asdict(point) for point in points],
    }
    with run_folder(results) as folder:
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        (folder / "tables.md").write_text(table.markdown())
        write_sweep_figure(points, image_set.name, folder / "sweep.png")
    table.print(console)
    say(console, f"Written to {latest(results)}")
    return points


def sweep_table(
    image_set: ImageSet, points: Sequence[Point], threads: int, counted: bool
) -> TextTable:
    """All points; a dash where nothing can be said."""
    headings = (
        "model",
        "sparsity",
        "GMAC",
        "network\nms",
        "file\nMB",
        *(f"R@{rank}\n%" for rank in RANKS),
        "map at 0\nR@1, %",
    )
    cells = tuple(
        (
            point.model,
            f"{point.sparsity:g}",
            _shown(point.gmac, ".3f"),
            _shown(point.ms, ".1f"),
            _shown(point.mb, ".1f"),
            *(f"{point.recall[rank]:.1f}" for rank in RANKS),
            f"{point.recall_dense_map:.1f}",
        )
        for point in points
    )
    notes = [
        f"{len(image_set.queries)} queries, {len(image_set.database)} database images; "
        f"right: {image_set.rule}. {threads} thread(s)."
    ]
    if not counted:
        notes.append("GMAC: counting needs the onnx package (pip install onnx).")
    return TextTable(f"Sweep on {image_set.name}", headings, cells, tuple(notes))


def _points(
    model: Model, rows: Sequence[Row], macs: dict[float, int], image_set: ImageSet
) -> list[Point]:
    steps = sorted({row.map_sparsity for row in rows})
    found = {(row.map_sparsity, row.query_sparsity): row.recall for row in rows}
    times_ms = network_ms(model.encoder, read_image(image_set.queries[0]), steps)
    size_mb = model.encoder.path.stat().st_size / 1e6
    return [
        Point(
            model.name,
            s,
            macs[s] / 1e9 if s in macs else None,
            ms,
            size_mb,
            found[s, s],
            found[0.0, s][1],
        )
        for s, ms in zip(steps, times_ms, strict=True)
    ]


def _baseline(row: Row) -> Point:
    return Point(row.method, 0.0, None, None, None, row.recall, row.recall[1])


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
