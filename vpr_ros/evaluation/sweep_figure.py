# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recall over compute, the markers as large as the files (after TAT-VPR's figure 2)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vpr_ros.evaluation.sweep_point import Point

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
DASHES = ((0, (5, 3)), (0, (1, 2)), (0, (5, 2, 1, 2)))
AREA_PER_MB = 12.0  # points^2
LEAST_AREA = 30.0


def write_sweep_figure(points: Sequence[Point], dataset: str, path: Path) -> None:
    """Write a PNG. Across: GMAC if every model has them, else milliseconds."""
    models = [point for point in points if point.mb is not None]
    counted = all(point.gmac is not None for point in models)
    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, name in zip(
        itertools.cycle(COLOURS), dict.fromkeys(p.model for p in models), strict=False
    ):
        own = [point for point in models if point.model == name]
        across = [point.gmac if counted else point.ms for point in own]
        up = [point.recall[1] for point in own]
        areas = [max(LEAST_AREA, AREA_PER_MB * (point.mb or 0)) for point in own]
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
