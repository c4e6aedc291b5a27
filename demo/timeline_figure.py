# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The drive over time: battery and sparsity, latency, and what became of every keyframe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from demo.results import Results
from vpr_ros.evaluation.figures.look import AMBER, BLUE, COLOUR, INK, grid
from vpr_ros.evaluation.tally import Outcome

ROWS = (Outcome.RIGHT, Outcome.WRONG, Outcome.MISSED, Outcome.NEW)
LAPS = {1: "first lap", 2: "second lap", 3: "new territory"}


def draw_timeline(axes: Sequence[Axes], results: Results) -> None:
    """Draw on three axes, top to bottom, that share their x axis."""
    charge, latency, outcomes = axes
    _draw_charge(charge, results)
    _draw_latency(latency, results)
    _draw_outcomes(outcomes, results)
    end = results.play["duration_s"]
    for number, part in enumerate(axes):
        part.set_xlim(0.0, end)
        part.tick_params(labelbottom=part is outcomes)
        _draw_laps(part, results, named=number == 0)
    outcomes.figure.align_ylabels([charge, latency])
    outcomes.set_xlabel("time into the drive [s]")


def _draw_charge(axes: Axes, results: Results) -> None:
    end = results.play["duration_s"]
    axes.step(*results.battery.T * [[1], [100]], where="post", color=AMBER, linewidth=1.6)
    axes.set_ylim(0, 105)
    axes.set_ylabel("battery [%]", color=AMBER, fontsize="small")
    grid(axes)
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    when, value = zip(*results.recording.sparsity, strict=True)
    right.step([*when, end], [*value, value[-1]], where="post", color=BLUE, linewidth=1.6)
    right.set_ylim(0, 1.05)
    right.set_ylabel("sparsity", color=BLUE, fontsize="small")


def _draw_latency(axes: Axes, results: Results) -> None:
    for outcome in (Outcome.NEW, Outcome.MISSED, Outcome.RIGHT, Outcome.WRONG):
        chosen = [v for v in results.score.verdicts if v.outcome is outcome]
        stamps = [results.seconds(v.query.stamp_ns) for v in chosen]
        values = [v.answer.latency_ms for v in chosen]
        axes.scatter(stamps, values, s=9, color=COLOUR[outcome], linewidths=0, zorder=3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("latency [ms]", fontsize="small")
    grid(axes)


def _draw_outcomes(axes: Axes, results: Results) -> None:
    for row, outcome in enumerate(ROWS):
        stamps = [
            results.seconds(v.query.stamp_ns)
            for v in results.score.verdicts
            if v.outcome is outcome
        ]
        axes.vlines(stamps, row - 0.36, row + 0.36, color=COLOUR[outcome], linewidth=1.1)
    labels = [f"{outcome.value} ({results.score.count(outcome)})" for outcome in ROWS]
    axes.set_yticks(np.arange(len(ROWS)), labels)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(ROWS) - 0.5, -0.5)


def _draw_laps(axes: Axes, results: Results, named: bool) -> None:
    """Where the laps begin, as vertical lines; their names on top of the first axes."""
    begins: dict[int, float] = {}
    for view in results.truth.views:
        begins.setdefault(view.lap, results.seconds(view.stamp_ns))
    for lap, begin in begins.items():
        if begin:
            axes.axvline(begin, color=INK, alpha=0.4, linewidth=0.7, linestyle=(0, (4, 3)))
        if named:
            axes.annotate(
                LAPS.get(lap, f"lap {lap}"), (begin, 1.0), (3, 3), fontsize="small",
                xycoords=axes.get_xaxis_transform(), textcoords="offset points", va="bottom",
            )  # fmt: skip
