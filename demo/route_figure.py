# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The route over the floor plan: the first lap on the floor, the second lifted above it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from demo.drive import drive, lap_starts
from demo.floor_plan import CELL_M, Plan
from demo.live_run import LiveRun
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.figures import BLUE, COLOUR, INK, PAPER

SHEAR, DEPTH = 0.30, 0.62  # oblique projection of the floor
LIFT_M = 13.0  # of the second lap
RAMP_S = 3.0  # the climb from one lap to the next
# Where a room's name stands clear of the route, [m] and alignment; elsewhere in its middle.
LABELS = {
    "lobby": (0.5, -5.2, "center"), "corridor A": (12.0, -4.4, "center"),
    "garden": (23.0, -7.2, "center"), "store": (32.5, -5.2, "center"),
    "slime hall": (37.6, 8.5, "left"), "laboratory": (37.6, 16.5, "left"),
    "corridor B": (20.0, 12.2, "center"), "courtyard": (9.0, 10.2, "center"),
    "chapel": (-4.6, 16.0, "right"), "red room": (4.6, 7.2, "left"),
}  # fmt: skip
KINDS = (
    (Outcome.MISSED, 0.0, "missed revisit"),
    (Outcome.RIGHT, 0.8, "right closure"),
    (Outcome.WRONG, 1.4, "wrong closure"),
)


def draw_route(axes: Axes, live: LiveRun) -> None:
    """Draw it; a line joins the two views of every closure."""
    poses = drive(live.plan)
    second_s = lap_starts(poses)[2]
    times = np.array([pose.stamp_s for pose in poses])
    ramp = np.clip((times - second_s) / RAMP_S, 0.0, 1.0)
    lift = LIFT_M * ramp * ramp * (3 - 2 * ramp)
    x, y = np.array([(pose.x_m, pose.y_m) for pose in poses]).T
    route = np.stack(_project(x, y, lift), axis=1)  # (P, 2)
    seconds = [live.seconds(i) for i in range(len(live.drive.answers))]
    spots = route[np.searchsorted(times, np.array(seconds) - 1e-6)]  # (N, 2)
    _draw_plan(axes, live.plan)
    axes.plot(*route.T, color=BLUE, linewidth=1.6, zorder=3)
    handles = [Line2D([], [], color=BLUE, linewidth=1.6, label="route")]
    for order, (outcome, width, text) in enumerate(KINDS, start=4):
        chosen = live.drive.of(outcome)
        colour = COLOUR[outcome]
        lines = [(spots[v.index], spots[v.answer.match]) for v in chosen if width]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, zorder=order))
        axes.scatter(
            *spots[[v.index for v in chosen]].T, s=16, color=colour, zorder=order + 3, linewidths=0
        )
        handles.append(
            Line2D([], [], color=colour, marker="o", markersize=4, linewidth=width,
                   label=f"{text} ({len(chosen)})")
        )  # fmt: skip
    axes.legend(
        handles=handles, loc="lower left", handlelength=1.6, fontsize="small", borderaxespad=0.0
    )
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.margins(0.01)


def _project(
    x: float | np.ndarray, y: float | np.ndarray, height: float | np.ndarray = 0.0
) -> tuple[float | np.ndarray, float | np.ndarray]:
    return x + SHEAR * y, DEPTH * y + height


def _draw_plan(axes: Axes, plan: Plan) -> None:
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
            *_project(x, y), name, fontsize="small", ha=side, va="center", zorder=8,
            path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        )  # fmt: skip
