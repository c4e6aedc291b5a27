# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The route from above, and lifted by time, with every closure as a line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.figures.look import BLUE, COLOUR, INK, grid
from vpr_ros.evaluation.tally import Outcome

SHEAR, DEPTH = 0.35, 0.5  # oblique projection of the ground
POINTS = 5000  # with more keyframes the route is drawn as pixels, to keep the page small
LIFT = 0.9  # height of the drive's end over the width of the ground
KINDS = ((Outcome.MISSED, 0.0), (Outcome.RIGHT, 0.7), (Outcome.WRONG, 1.4))


def draw_route(axes: Sequence[Axes], run: BagRun) -> None:
    """Draw on two axes; the run's truth must have poses."""
    ground = _ground(run)
    _draw(axes[0], run, ground)
    axes[0].set_aspect("equal", adjustable="datalim")
    axes[0].set_xlabel("[m]")
    axes[0].set_ylabel("[m]")
    axes[0].set_title("from above", fontsize="medium")
    grid(axes[0])
    width = float(np.nanmax(np.ptp(ground[np.isfinite(ground).all(axis=1)], axis=0)))
    height = np.linspace(0.0, 1.0, len(ground)) * LIFT * width
    lifted = np.stack([ground[:, 0] + SHEAR * ground[:, 1], DEPTH * ground[:, 1] + height], 1)
    axes[1].plot(ground[:, 0] + SHEAR * ground[:, 1], DEPTH * ground[:, 1], color=INK, alpha=0.15)
    _draw(axes[1], run, lifted)
    axes[1].set_aspect("equal", adjustable="datalim")
    axes[1].set_axis_off()
    axes[1].set_title("lifted by time: steep lines join a place with its earlier visit",
                      fontsize="medium")  # fmt: skip


def draw_matches(axes: Axes, run: BagRun) -> None:
    """Without poses: which keyframe was matched with which."""
    for outcome, _ in KINDS:
        chosen = [v for v in run.judgement.verdicts if v.outcome is outcome]
        other = [v.true if outcome is Outcome.MISSED else v.answer.match for v in chosen]
        axes.plot([v.index for v in chosen], other, ".", color=COLOUR[outcome],
                  label=f"{outcome.value} ({len(chosen)})")  # fmt: skip
    axes.plot([0, len(run.answers)], [0, len(run.answers)], color=INK, alpha=0.2, linewidth=0.8)
    axes.set_xlabel("keyframe")
    axes.set_ylabel("matched with, or (missed) the true older one")
    axes.legend(loc="upper left", fontsize="small")
    grid(axes)


def _ground(run: BagRun) -> np.ndarray:
    """(N, 2) [m] in the plane in which the route is widest: x-y on robots, x-z in KITTI."""
    assert run.truth.trajectory is not None
    positions = run.truth.trajectory.positions
    spread = np.nanmax(positions, axis=0) - np.nanmin(positions, axis=0)
    wide = np.sort(np.argsort(-spread, kind="stable")[:2])
    return positions[:, wide] - np.nanmin(positions[:, wide], axis=0)


def _draw(axes: Axes, run: BagRun, points: np.ndarray) -> None:
    coarse = len(points) > POINTS
    axes.plot(*points.T, color=BLUE, linewidth=1.3, zorder=2, rasterized=coarse)
    handles = [Line2D([], [], color=BLUE, linewidth=1.3, label="route")]
    for order, (outcome, width) in enumerate(KINDS, start=3):
        chosen = [v for v in run.judgement.verdicts if v.outcome is outcome]
        colour = COLOUR[outcome]
        if width:
            lines = [(points[v.index], points[v.answer.match]) for v in chosen]
            axes.add_collection(
                LineCollection(
                    lines,
                    colors=colour,
                    linewidths=width,
                    zorder=order,
                    alpha=0.8,
                    rasterized=coarse,
                )
            )
        spots = points[[v.index for v in chosen]]
        axes.scatter(
            *spots.T, s=12, color=colour, zorder=order + 3, linewidths=0, rasterized=coarse
        )
        handles.append(
            Line2D(
                [],
                [],
                color=colour,
                marker="o",
                markersize=4,
                linewidth=width,
                label=f"{outcome.value} ({len(chosen)})",
            )
        )
    if axes.get_subplotspec().is_first_col():
        axes.legend(handles=handles, loc="best", fontsize="small")
