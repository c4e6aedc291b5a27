# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The drive over time: battery and sparsity, latency, and what became of every keyframe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from demo.drive import drive, lap_starts
from demo.live_run import LiveRun
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.figures import AMBER, BLUE, COLOUR, INK, grid

ROWS = (Outcome.RIGHT, Outcome.WRONG, Outcome.MISSED, Outcome.NEW)
LAPS = {1: "first lap", 2: "second lap", 3: "new territory"}


def draw_timeline(axes: Sequence[Axes], live: LiveRun) -> None:
    """Draw on three axes, top to bottom, that share their x axis."""
    charge, latency, outcomes = axes
    _draw_charge(charge, live)
    seconds = np.array([live.seconds(i) for i in range(len(live.drive.answers))])
    rows = {outcome: [v.index for v in live.drive.of(outcome)] for outcome in ROWS}
    for row, (outcome, chosen) in enumerate(rows.items()):
        colour = COLOUR[outcome]
        latency.scatter(
            seconds[chosen], live.latency_ms[chosen], s=9, color=colour, linewidths=0, zorder=3
        )
        outcomes.vlines(seconds[chosen], row - 0.36, row + 0.36, color=colour, linewidth=1.1)
    latency.set_ylim(bottom=0)
    latency.set_ylabel("latency [ms]", fontsize="small")
    grid(latency)
    labels = [f"{outcome.value} ({len(chosen)})" for outcome, chosen in rows.items()]
    outcomes.set_yticks(np.arange(len(ROWS)), labels)
    outcomes.tick_params(axis="y", length=0)
    outcomes.spines["left"].set_visible(False)
    outcomes.set_ylim(len(ROWS) - 0.5, -0.5)
    laps = lap_starts(drive(live.plan))
    for part in axes:
        part.set_xlim(0.0, live.play["duration_s"])
        part.tick_params(labelbottom=part is outcomes)
        for begin in laps.values():
            part.axvline(begin, color=INK, alpha=0.4 * (begin > 0), linewidth=0.7, linestyle="--")
    for lap, begin in laps.items():
        charge.annotate(
            LAPS[lap], (begin, 1.0), (3, 3), fontsize="small", va="bottom",
            xycoords=charge.get_xaxis_transform(), textcoords="offset points",
        )  # fmt: skip
    outcomes.figure.align_ylabels([charge, latency])
    outcomes.set_xlabel("time into the drive [s]")


def _draw_charge(axes: Axes, live: LiveRun) -> None:
    axes.step(*live.battery.T * [[1], [100]], where="post", color=AMBER, linewidth=1.6)
    axes.set_ylim(0, 105)
    axes.set_ylabel("battery [%]", color=AMBER, fontsize="small")
    grid(axes)
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    when, value = zip(*live.sparsity_changes(), strict=True)
    right.step(
        [*when, live.play["duration_s"]],
        [*value, value[-1]],
        where="post",
        color=BLUE,
        linewidth=1.6,
    )
    right.set_ylim(0, 1.05)
    right.set_ylabel("sparsity", color=BLUE, fontsize="small")
