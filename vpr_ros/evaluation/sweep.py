# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr sweep`: recall of models against operations, time and size."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vpr_ros.core.image_files import read_image
from vpr_ros.evaluation.benchmark import Measured, Plan, run_plan
from vpr_ros.evaluation.console import TextTable
from vpr_ros.evaluation.figures import GREY, STYLE, grid
from vpr_ros.evaluation.metrics import number, rounded_percent
from vpr_ros.evaluation.retrieval import network_ms
from vpr_ros.evaluation.search import RANKS

STEPS = (0.0, 0.2, 0.4, 0.6)  # the published ones and one more
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
DASHES = ((0, (5, 3)), (0, (1, 2)), (0, (5, 2, 1, 2)))
AREA_PER_MB = 12.0  # points^2
LEAST_AREA = 30.0
GFLOP = (
    "GFLOP: two operations per multiply-accumulate, of what is computed; published: as TAT-VPR's "
    "figures count, with (1 - s) on all linear layers with a bias, dense ones too, not on qkv."
)

# Multiply-accumulates per image of a model file by sparsity, as they are and as TAT-VPR counts
# them. Counting needs the onnx package, which evaluation does without: the command passes it in.
CountMacs = Callable[[Path, Sequence[float]], tuple[dict[float, int], dict[float, int]]]


@dataclasses.dataclass(frozen=True)
class SweepPoint:
    """One model at one sparsity; NaN for what is not known, or not there, as in a baseline."""

    model: str
    sparsity: float
    recall: dict[int, float]  # k -> R@k; map and query at this sparsity
    recall_dense_map: float  # R@1; map at sparsity 0
    trainable: float = math.nan  # parameters
    gflop: float = math.nan  # per image
    published_gflop: float = math.nan
    ms: float = math.nan  # network only
    mb: float = math.nan  # of the file

    @property
    def recall_per_mb(self) -> float:
        """R@1 in % per MB of the file."""
        return 100 * self.recall[1] / self.mb


def run_sweep(plan: Plan, count_macs: CountMacs | None = None) -> list[SweepPoint]:
    """Measure, print and write `plan.results`/<time>/{metrics.json,tables.md,sweep.png}.

    Without `count_macs` operations stay unknown and the figure shows milliseconds alone.
    """
    found: list[SweepPoint] = []

    def finish(measured: Measured, folder: Path) -> tuple[list[TextTable], dict[str, Any]]:
        found.extend(sweep_points(measured, count_macs))
        name = measured.image_set.name
        write_sweep_figure(found, name, folder / "sweep.png")
        notes = [*measured.notes, f"{plan.threads} thread(s)."]
        notes.append(GFLOP if count_macs else "GFLOP: counting needs onnx (pip install onnx).")
        points = [{**dataclasses.asdict(p), "recall_per_mb": p.recall_per_mb} for p in found]
        return [sweep_table(found, name, notes)], {"points": points}

    steps = sorted({0.0, *plan.sparsities})  # 0: the map of the last column
    run_plan(dataclasses.replace(plan, sparsities=steps), finish)
    return found


def sweep_table(points: Sequence[SweepPoint], dataset: str, notes: Sequence[str]) -> TextTable:
    """All points; a dash where there is no such number."""
    headings = (
        "model", "sparsity", "trainable\nM", "GFLOP", "GFLOP\npublished", "network\nms",
        "file\nMB", *(f"R@{rank}\n%" for rank in RANKS), "R@1 / MB", "map at 0\nR@1, %",
    )  # fmt: skip
    cells = tuple(
        (
            point.model,
            f"{point.sparsity:g}",
            number(point.trainable / 1e6, ".2f"),
            number(point.gflop, ".2f"),
            number(point.published_gflop, ".2f"),
            number(point.ms, ".1f"),
            number(point.mb, ".1f"),
            *(rounded_percent(point.recall[rank]) for rank in RANKS),
            number(point.recall_per_mb, ".1f"),
            rounded_percent(point.recall_dense_map),
        )
        for point in points
    )
    return TextTable(f"Sweep on {dataset}", headings, cells, tuple(notes))


def sweep_points(measured: Measured, count_macs: CountMacs | None) -> list[SweepPoint]:
    """The results with map and query at one sparsity, beside what they cost."""
    results, image_set = measured.rows, measured.image_set
    image = read_image(next(q for q in image_set.queries if q not in image_set.unreadable))
    costs: dict[tuple[str, float], dict[str, float]] = {}
    for model in measured.models:
        encoder = model.encoder
        steps = sorted({one.map_sparsity for one in results if one.method == model.name})
        macs, published = count_macs(encoder.path, steps) if count_macs else ({}, {})
        for step, ms in zip(steps, network_ms(encoder, image, steps), strict=True):
            costs[model.name, step] = {
                "trainable": encoder.contract.trainable or math.nan,
                "gflop": 2e-9 * macs.get(step, math.nan),
                "published_gflop": 2e-9 * published.get(step, math.nan),
                "ms": ms,
                "mb": encoder.path.stat().st_size / 1e6,
            }
    in_dense_map = {
        (one.method, one.query_sparsity): one.recall[1] for one in results if not one.map_sparsity
    }
    found = [one for one in results if one.map_sparsity == one.query_sparsity]
    keys = [(one.method, one.query_sparsity) for one in found]
    return [
        SweepPoint(key[0], key[1], one.recall, in_dense_map[key], **costs.get(key, {}))
        for key, one in zip(keys, found, strict=True)
    ]


def write_sweep_figure(points: Sequence[SweepPoint], dataset: str, path: Path) -> None:
    """Write a PNG of R@1 over operations and over time, as TAT-VPR's figure 2 shows it.

    A model with a dial is a dashed curve from sparsity 0 on, one without is a point; a grey line
    joins what nothing else beats in both. Areas: file size.
    """
    models = [point for point in points if not math.isnan(point.mb)]
    panels = [("gflop", "GFLOP per image"), ("ms", "network, ms per image")]
    panels = [one for one in panels if not any(math.isnan(getattr(p, one[0])) for p in models)]
    with matplotlib.rc_context(STYLE):
        size = (4.6 * max(len(panels), 1) + 0.6, 4.4)
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        for place, (cost, words) in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), place)
            _draw(axes, points, models, cost)
            axes.set(xlabel=words, ylabel="R@1, %" if place == 1 else "")
        figure.suptitle(f"{dataset}: recall over cost; marker area: file size")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.savefig(path)


def _draw(
    axes: Axes, points: Sequence[SweepPoint], models: Sequence[SweepPoint], cost: str
) -> None:
    """One panel: R@1 over the field `cost`."""
    names = dict.fromkeys(point.model for point in models)
    for colour, name in zip(itertools.cycle(COLOURS), names, strict=False):
        own = [point for point in models if point.model == name]
        across, up = [getattr(p, cost) for p in own], [100 * p.recall[1] for p in own]
        axes.plot(across, up, color=colour, linewidth=1.2, linestyle="--")
        areas = [max(LEAST_AREA, AREA_PER_MB * point.mb) for point in own]
        label = f"{name}, {own[0].mb:.1f} MB"
        axes.scatter(across, up, s=areas, color=colour, alpha=0.75, label=label, zorder=3)
        ends = ((own[0], -16), (own[-1], 9)) if len(own) > 1 else ()
        for point, above in ends:
            spot = getattr(point, cost), 100 * point.recall[1]
            axes.annotate(f"s = {point.sparsity:g}", spot, (0, above), ha="center",
                          textcoords="offset points", fontsize="small")  # fmt: skip
    ranked = sorted(models, key=lambda p: (getattr(p, cost), -p.recall[1]))
    best = [*itertools.accumulate((p.recall[1] for p in ranked), max)]
    front = [p for p, before in zip(ranked, [-1.0, *best], strict=False) if p.recall[1] > before]
    axes.step([getattr(p, cost) for p in front], [100 * p.recall[1] for p in front],
              where="post", color=GREY, linewidth=3, alpha=0.3, zorder=1)  # fmt: skip
    axes.margins(x=0.08, y=0.25)
    axes.set_xlim(left=0)
    axes.autoscale(False)  # a poor baseline need not be seen
    baselines = [point for point in points if math.isnan(point.mb)]
    for dash, point in zip(itertools.cycle(DASHES), baselines, strict=False):
        label = f"{point.model}, {rounded_percent(point.recall[1])} %"
        axes.axhline(100 * point.recall[1], color=GREY, linestyle=dash, linewidth=1, label=label)
    grid(axes)
