# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The route over the floor plan: the first lap on the floor, the second lifted above it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from demo.building import building
from demo.floor_plan import CELL_M
from demo.score import Score
from demo.truth import Truth, View
from vpr_ros.evaluation.figures.look import BLUE, COLOUR, INK, PAPER
from vpr_ros.evaluation.tally import Outcome

SHEAR, DEPTH = 0.30, 0.62  # oblique projection of the floor
LIFT_M = 13.0  # of the second lap
RAMP_S = 3.0  # the climb from one lap to the next
# where a room's name stands clear of the route, [m] and alignment; elsewhere in its middle
LABELS = {
    "lobby": (0.5, -5.2, "center"), "corridor A": (12.0, -4.4, "center"),
    "garden": (23.0, -7.2, "center"), "store": (32.5, -5.2, "center"),
    "slime hall": (37.6, 8.5, "left"), "laboratory": (37.6, 16.5, "left"),
    "corridor B": (20.0, 12.2, "center"), "courtyard": (9.0, 10.2, "center"),
    "chapel": (-4.6, 16.0, "right"), "red room": (4.6, 7.2, "left"),
}  # fmt: skip
Place = Callable[[View], tuple[float, float]]


def draw_route(axes: Axes, truth: Truth, score: Score) -> None:
    """Draw it; a line joins the two views of every closure."""
    start_ns = next((v.stamp_ns for v in truth.views if v.lap > 1), truth.views[-1].stamp_ns)

    def place(view: View) -> tuple[float, float]:
        ramp = float(np.clip((view.stamp_ns - start_ns) * 1e-9 / RAMP_S, 0.0, 1.0))
        return _project(view.x_m, view.y_m, LIFT_M * ramp * ramp * (3 - 2 * ramp))

    _draw_plan(axes)
    axes.plot(*zip(*map(place, truth.views), strict=True), color=BLUE, linewidth=1.6, zorder=3)
    _draw_closures(axes, score, place)
    _draw_legend(axes, score)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.margins(0.01)


def _project(x: float, y: float, height: float = 0.0) -> tuple[float, float]:
    return x + SHEAR * y, DEPTH * y + height


def _draw_plan(axes: Axes) -> None:
    plan = building()
    floors, lines = [], []
    for area in plan.areas:
        if area.height_m:
            corners = ((area.x0, area.y0), (area.x1, area.y0), (area.x1, area.y1),
                       (area.x0, area.y1))  # fmt: skip
            floors.append([_project(x, y) for x, y in corners])
    for wall in plan.walls():
        ends = ((wall.x0, wall.y0), (wall.x1, wall.y1))
        lines.append(
            [_project(plan.origin[0] + i * CELL_M, plan.origin[1] + j * CELL_M) for i, j in ends]
        )
    axes.add_collection(PolyCollection(floors, facecolors=INK, alpha=0.05, linewidths=0))
    axes.add_collection(LineCollection(lines, colors=INK, alpha=0.35, linewidths=0.5, zorder=1))
    rooms = {area.name: area for area in reversed(plan.areas) if area.name not in ("", "door")}
    for name, area in rooms.items():
        middle = ((area.x0 + area.x1) / 2, (area.y0 + area.y1) / 2, "center")
        x, y, side = LABELS.get(name, middle)
        axes.text(
            *_project(x, y), name, fontsize="small", ha=side, va="center", zorder=7,
            path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        )  # fmt: skip


def _draw_closures(axes: Axes, score: Score, place: Place) -> None:
    for outcome, width, order in ((Outcome.RIGHT, 0.8, 4), (Outcome.WRONG, 1.4, 5)):
        pairs = [
            (place(v.query), place(v.match))
            for v in score.verdicts
            if v.outcome is outcome and v.match is not None
        ]
        colour = COLOUR[outcome]
        axes.add_collection(LineCollection(pairs, colors=colour, linewidths=width, zorder=order))
    for outcome in (Outcome.MISSED, Outcome.RIGHT, Outcome.WRONG):
        spots = [place(v.query) for v in score.verdicts if v.outcome is outcome]
        if spots:
            x, y = zip(*spots, strict=True)
            axes.scatter(x, y, s=16, color=COLOUR[outcome], zorder=6, linewidths=0)


def _draw_legend(axes: Axes, score: Score) -> None:
    kinds = (
        (Outcome.RIGHT, 1.2, "right closure"),
        (Outcome.WRONG, 1.2, "wrong closure"),
        (Outcome.MISSED, 0.0, "missed revisit"),
    )
    handles = [
        Line2D([], [], color=COLOUR[outcome], marker="o", markersize=4, linewidth=width,
               label=f"{text} ({score.count(outcome)})")
        for outcome, width, text in kinds
    ]  # fmt: skip
    handles.insert(0, Line2D([], [], color=BLUE, linewidth=1.6, label="route"))
    axes.legend(
        handles=handles, loc="lower left", handlelength=1.6, fontsize="small", borderaxespad=0.0
    )
