# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr sweep`: recall of models against multiplications, time and file size."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from vpr_ros.evaluation.benchmark import image_set_note
from vpr_ros.evaluation.console import TextTable, say
from vpr_ros.evaluation.image_set import DatasetOptions, ImageSet, read_image
from vpr_ros.evaluation.layouts import open_dataset
from vpr_ros.evaluation.methods import Model, open_methods
from vpr_ros.evaluation.retrieval import Row, measure_all, network_ms
from vpr_ros.evaluation.run_folder import RESULTS, latest, own_command, run_folder
from vpr_ros.evaluation.search import RANKS

STEPS = (0.0, 0.2, 0.4, 0.6)  # the published ones and one more
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
DASHES = ((0, (5, 3)), (0, (1, 2)), (0, (5, 2, 1, 2)))
AREA_PER_MB = 12.0  # points^2
LEAST_AREA = 30.0

# Multiply-accumulates per image of a model file, by sparsity. Counting needs the onnx package,
# which evaluation does without: the command passes the counter in.
CountMacs = Callable[[Path], dict[float, int]]


@dataclasses.dataclass(frozen=True)
class SweepPoint:
    """One model at one sparsity; a baseline has neither MACs nor a file."""

    model: str
    sparsity: float
    gmac: float | None  # per image
    ms: float | None  # network only
    mb: float | None  # of the file
    recall: dict[int, float]  # N -> R@N, %; map and query at this sparsity
    recall_dense_map: float  # R@1, %; map at sparsity 0


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
) -> list[SweepPoint]:
    """Measure, print and write `results`/<time>/{metrics.json,tables.md,sweep.png}.

    Without `count_macs` that column stays empty and the figure shows milliseconds.
    """
    console = console or Console()
    opened, simple = open_methods(models, threads, baselines)
    image_set = open_dataset(path, options)
    steps = sorted({0.0, *sparsities})  # 0: the map of the last column
    points = []
    for model in opened:
        rows = measure_all(image_set, [model], steps, console)
        macs = count_macs(model.encoder.path) if count_macs else {}
        points += _points(model, rows, macs, image_set)
    for row in measure_all(image_set, simple, steps, console):
        points.append(SweepPoint(row.method, 0.0, None, None, None, row.recall, row.recall[1]))
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
    image_set: ImageSet, points: Sequence[SweepPoint], threads: int, counted: bool
) -> TextTable:
    """All points; a dash where there is no such number."""
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
    notes = [f"{image_set_note(image_set)} {threads} thread(s)."]
    if not counted:
        notes.append("GMAC: counting needs the onnx package (pip install onnx).")
    return TextTable(f"Sweep on {image_set.name}", headings, cells, tuple(notes))


def _points(
    model: Model, rows: Sequence[Row], macs: dict[float, int], image_set: ImageSet
) -> list[SweepPoint]:
    steps = sorted({row.map_sparsity for row in rows})
    found = {(row.map_sparsity, row.query_sparsity): row.recall for row in rows}
    times_ms = network_ms(model.encoder, read_image(image_set.queries[0]), steps)
    size_mb = model.encoder.path.stat().st_size / 1e6
    return [
        SweepPoint(
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


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def write_sweep_figure(points: Sequence[SweepPoint], dataset: str, path: Path) -> None:
    """Write a PNG of recall over compute, marker areas by file size (as in TAT-VPR's figure 2).

    Across: GMAC if every model has them, else milliseconds.
    """
    models = [point for point in points if point.mb is not None]
    counted = all(point.gmac is not None for point in models)
    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    names = dict.fromkeys(point.model for point in models)
    for colour, name in zip(itertools.cycle(COLOURS), names, strict=False):
        own = [point for point in models if point.model == name]
        across = [(point.gmac if counted else point.ms) or 0.0 for point in own]
        up = [point.recall[1] for point in own]
        areas = [max(LEAST_AREA, AREA_PER_MB * (point.mb or 0.0)) for point in own]
        axes.plot(across, up, color=colour, linewidth=1.2, alpha=0.6)
        label = f"{name}, {own[0].mb:.1f} MB"
        axes.scatter(across, up, s=areas, color=colour, alpha=0.75, label=label, zorder=3)
        for point, x in zip(own, across, strict=True):
            axes.annotate(
                f"s = {point.sparsity:g}",
                (x, point.recall[1]),
                textcoords="offset points",
                xytext=(0, 9),
                ha="center",
                fontsize=8,
            )
    baselines = [point for point in points if point.mb is None]
    for dash, point in zip(itertools.cycle(DASHES), baselines, strict=False):
        axes.axhline(
            point.recall[1], color="#555555", linestyle=dash, linewidth=1, label=point.model
        )
    axes.set_xlabel("GMAC per image" if counted else "network, ms per image")
    axes.set_ylabel("R@1, %")
    axes.set_title(f"{dataset}: recall over compute; marker area: file size", fontsize=10)
    axes.margins(x=0.08, y=0.14)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path)
