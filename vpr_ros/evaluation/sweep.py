# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr sweep`: recall of models against multiplications, time and file size."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from rich.console import Console

from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image
from vpr_ros.evaluation.benchmark import image_set_note
from vpr_ros.evaluation.console import TextTable, say
from vpr_ros.evaluation.figures import GREY, STYLE, grid
from vpr_ros.evaluation.image_set import DatasetOptions, ImageSet
from vpr_ros.evaluation.layouts import open_dataset
from vpr_ros.evaluation.methods import Model, open_methods
from vpr_ros.evaluation.metrics import rounded_percent
from vpr_ros.evaluation.retrieval import Result, measure_all, network_ms
from vpr_ros.evaluation.run_folder import RESULTS, latest, own_command, run_folder, write_json
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
    """One model at one sparsity; NaN where a baseline has neither MACs nor a file."""

    model: str
    sparsity: float
    gmac: float  # per image
    ms: float  # network only
    mb: float  # of the file
    recall: dict[int, float]  # k -> R@k; map and query at this sparsity
    recall_dense_map: float  # R@1; map at sparsity 0


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
) -> list[SweepPoint]:
    """Measure, print and write `results`/<time>/{metrics.json,tables.md,sweep.png}.

    Without `count_macs` that column stays empty and the figure shows milliseconds.
    """
    console = Console()
    opened, simple = open_methods(models, threads, baselines)
    image_set = open_dataset(path, options)
    steps = sorted({0.0, *sparsities})  # 0: the map of the last column
    with run_folder(results) as folder:
        measured = measure_all(image_set, [*opened, *simple], steps, console)
        points = sweep_points(measured, opened, read_image(image_set.queries[0]), count_macs)
        table = sweep_table(image_set, points, threads, count_macs is not None)
        metrics = {
            "command": own_command(),
            "dataset": image_set.name,
            "right": image_set.rule,
            "threads": threads,
            "points": [dataclasses.asdict(point) for point in points],
        }
        write_json(folder / "metrics.json", metrics)
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
        "model", "sparsity", "GMAC", "network\nms", "file\nMB",
        *(f"R@{rank}\n%" for rank in RANKS), "map at 0\nR@1, %",
    )  # fmt: skip
    cells = tuple(
        (
            point.model,
            f"{point.sparsity:g}",
            _shown(point.gmac, ".3f"),
            _shown(point.ms, ".1f"),
            _shown(point.mb, ".1f"),
            *(rounded_percent(point.recall[rank]) for rank in RANKS),
            rounded_percent(point.recall_dense_map),
        )
        for point in points
    )
    notes = [f"{image_set_note(image_set)} {threads} thread(s)."]
    if not counted:
        notes.append("GMAC: counting needs the onnx package (pip install onnx).")
    return TextTable(f"Sweep on {image_set.name}", headings, cells, tuple(notes))


def sweep_points(
    results: Sequence[Result], models: Sequence[Model], image: Image, count_macs: CountMacs | None
) -> list[SweepPoint]:
    """The results with map and query at one sparsity, beside what they cost; `image` is timed."""
    costs: dict[tuple[str, float], tuple[float, float, float]] = {}
    for model in models:
        steps = sorted({one.map_sparsity for one in results if one.method == model.name})
        macs = count_macs(model.encoder.path) if count_macs else {}
        size_mb = model.encoder.path.stat().st_size / 1e6
        for step, ms in zip(steps, network_ms(model.encoder, image, steps), strict=True):
            costs[model.name, step] = (macs.get(step, math.nan) / 1e9, ms, size_mb)
    in_dense_map = {
        (one.method, one.query_sparsity): one.recall[1] for one in results if not one.map_sparsity
    }
    points = []
    for one in results:
        if one.map_sparsity == one.query_sparsity:
            key = (one.method, one.query_sparsity)
            cost = costs.get(key, (math.nan, math.nan, math.nan))
            points.append(SweepPoint(*key, *cost, one.recall, in_dense_map[key]))
    return points


def _shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def write_sweep_figure(points: Sequence[SweepPoint], dataset: str, path: Path) -> None:
    """Write a PNG of recall over compute, marker areas by file size (as in TAT-VPR's figure 2).

    Across: GMAC if every model has them, else milliseconds.
    """
    models = [point for point in points if not math.isnan(point.mb)]
    counted = not any(math.isnan(point.gmac) for point in models)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        names = dict.fromkeys(point.model for point in models)
        for colour, name in zip(itertools.cycle(COLOURS), names, strict=False):
            own = [point for point in models if point.model == name]
            across = [point.gmac if counted else point.ms for point in own]
            up = [100 * point.recall[1] for point in own]
            areas = [max(LEAST_AREA, AREA_PER_MB * point.mb) for point in own]
            axes.plot(across, up, color=colour, linewidth=1.2, alpha=0.6)
            label = f"{name}, {own[0].mb:.1f} MB"
            axes.scatter(across, up, s=areas, color=colour, alpha=0.75, label=label, zorder=3)
            for point, spot in zip(own, zip(across, up, strict=True), strict=True):
                axes.annotate(f"s = {point.sparsity:g}", spot, (0, 9), ha="center",
                              textcoords="offset points", fontsize="small")  # fmt: skip
        baselines = [point for point in points if math.isnan(point.mb)]
        for dash, point in zip(itertools.cycle(DASHES), baselines, strict=False):
            axes.axhline(100 * point.recall[1], color=GREY, linestyle=dash, linewidth=1,
                         label=point.model)  # fmt: skip
        axes.set(
            xlabel="GMAC per image" if counted else "network, ms per image",
            ylabel="R@1, %",
            title=f"{dataset}: recall over compute; marker area: file size",
        )
        axes.margins(x=0.08, y=0.14)
        axes.set_xlim(left=0)
        grid(axes)
        figure.legend(loc="outside lower center", ncols=3)
        figure.savefig(path)
