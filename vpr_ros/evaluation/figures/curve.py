# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Precision over recall of the bare score, and where the closures of all gates stand."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from vpr_ros.evaluation.figures.look import BLUE, GREEN, INK, PAPER, grid
from vpr_ros.evaluation.tally import Tally, V


def draw_curve(axes: Axes, judged: Tally[V]) -> None:
    """Draw it, in percent."""
    curve = judged.curve
    recall, precision = curve.recall * 100, curve.precision * 100
    if judged.revisits and len(recall):
        # A curve begins at its best score; up to there its precision is that of the best score.
        axes.plot([0, *recall], [precision[0], *precision], color=BLUE, linewidth=1.8, zorder=3,
                  label="score alone")  # fmt: skip
        axes.axvline(
            curve.recall_at_full_precision * 100, color=INK, alpha=0.5, linewidth=0.8,
            linestyle=(0, (4, 3)), label="last recall with nothing wrong",
        )  # fmt: skip
    if not math.isnan(judged.precision) and judged.revisits:
        axes.plot(
            judged.recall * 100, judged.precision * 100, "o", color=GREEN, markersize=8, zorder=4,
            clip_on=False, label="closures, after all gates",
        )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 101)
    axes.set_xlabel("recall [%]")
    axes.set_ylabel("precision [%]")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", fontsize="small", frameon=True, facecolor=PAPER, edgecolor="none",
            framealpha=1.0,
        )  # fmt: skip
    grid(axes)
