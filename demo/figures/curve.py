# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Precision over recall of the bare score, and where the published closures stand."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from demo.figures.look import BLUE, GREEN, INK, PAPER, grid
from demo.score import Score


def draw_curve(axes: Axes, score: Score) -> None:
    """Draw it, in percent."""
    curve = score.curve
    recall, precision = curve.recall * 100, curve.precision * 100
    axes.plot(recall, precision, color=BLUE, linewidth=1.8, zorder=3, label="score alone")
    axes.axvline(
        curve.recall_at_full_precision * 100, color=INK, alpha=0.5, linewidth=0.8,
        linestyle=(0, (4, 3)), label="last recall with nothing wrong",
    )  # fmt: skip
    if not math.isnan(score.precision):
        axes.plot(
            score.recall * 100, score.precision * 100, "o", color=GREEN, markersize=8, zorder=4,
            clip_on=False, label="published, after all gates",
        )  # fmt: skip
    axes.set_xlim(0, 100)
    # room for the legend below the curve, wherever that ends
    axes.set_ylim(max(0.0, 10 * math.floor(precision.min(initial=100.0) / 10) - 20), 101)
    axes.set_xlabel("recall [%]")
    axes.set_ylabel("precision [%]")
    axes.legend(
        loc="lower left", fontsize="small", frameon=True, facecolor=PAPER, edgecolor="none",
        framealpha=1.0,
    )  # fmt: skip
    grid(axes)
