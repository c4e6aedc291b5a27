# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A live drive in pictures: its route, what happened when, and both for the README.

The route lies over the floor plan: the first lap on the floor, the second lifted above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from PIL import Image

from demo.drive import drive, lap_starts
from demo.floor_plan import CELL_M, Plan
from demo.live_run import LiveRun
from vpr_ros.evaluation.bag import Bag, pictures
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.figures import AMBER, BLUE, COLOUR, INK, PAPER, STYLE, grid

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
ROWS = (Outcome.RIGHT, Outcome.WRONG, Outcome.MISSED, Outcome.NEW)
LAPS = {1: "first lap", 2: "second lap", 3: "new territory"}
PAIRS = 4
FONT_PT = 13.0  # at 100 dpi: still legible at half size
COLOURS = 256  # of the PNG's palette: a quarter of the size, and the eye sees no difference


def draw_route(axes: Axes, live: LiveRun) -> None:
    """Draw it; a line joins the two views of every closure."""
    poses = drive()
    second_s = lap_starts(poses)[2]
    times = np.array([pose.stamp_s for pose in poses])
    ramp = np.clip((times - second_s) / RAMP_S, 0.0, 1.0)
    lift = LIFT_M * ramp * ramp * (3 - 2 * ramp)
    x, y = np.array([(pose.x_m, pose.y_m) for pose in poses]).T
    route = np.stack(project(x, y, lift), axis=1)  # (P, 2)
    seconds = [live.seconds(i) for i in range(len(live.drive.answers))]
    spots = route[np.searchsorted(times, np.array(seconds) - 1e-6)]  # (N, 2)
    draw_plan(axes, live.plan)
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


def project(
    x: float | np.ndarray, y: float | np.ndarray, height: float | np.ndarray = 0.0
) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Where on the paper a point of the floor is, or one above it [m]."""
    return x + SHEAR * y, DEPTH * y + height


def draw_plan(axes: Axes, plan: Plan) -> None:
    """Draw rooms and walls."""
    floors, lines = [], []
    for area in plan.areas:
        if area.height_m:
            corners = ((area.x0, area.y0), (area.x1, area.y0), (area.x1, area.y1),
                       (area.x0, area.y1))  # fmt: skip
            floors.append([project(x, y) for x, y in corners])
    for wall in plan.walls():
        ends = ((wall.x0, wall.y0), (wall.x1, wall.y1))
        lines.append(
            [project(plan.origin[0] + i * CELL_M, plan.origin[1] + j * CELL_M) for i, j in ends]
        )
    axes.add_collection(PolyCollection(floors, facecolors=INK, alpha=0.05, linewidths=0))
    axes.add_collection(LineCollection(lines, colors=INK, alpha=0.35, linewidths=0.5, zorder=1))
    rooms = {area.name: area for area in reversed(plan.areas) if area.name not in ("", "door")}
    for name, area in rooms.items():
        middle = ((area.x0 + area.x1) / 2, (area.y0 + area.y1) / 2, "center")
        x, y, side = LABELS.get(name, middle)
        axes.text(
            *project(x, y), name, fontsize="small", ha=side, va="center", zorder=8,
            path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
        )  # fmt: skip


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
    laps = lap_starts(drive())
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


def write_picture(path: Path, live: LiveRun, drive: Bag, headline: str) -> None:
    """Write a PNG of 1600x900 px; `drive` is open, for its pictures."""
    with matplotlib.rc_context({**STYLE, "font.size": FONT_PT}):
        figure = Figure(figsize=(16, 9), dpi=100, facecolor=PAPER)
        draw_route(figure.add_axes((0.01, 0.43, 0.65, 0.49)), live)
        _draw_pairs(figure, live, drive)
        parts = figure.add_gridspec(
            3, 1, left=0.135, right=0.645, top=0.385, bottom=0.075, hspace=0.16,
            height_ratios=(1, 1, 1.1),
        )  # fmt: skip
        draw_timeline([figure.add_subplot(part) for part in parts], live)
        figure.text(0.015, 0.945, headline, fontsize=21, weight="bold")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    with Image.open(path) as image:
        _with_palette(image.convert("RGB")).save(path, optimize=True)


def _draw_pairs(figure: Figure, live: LiveRun, drive: Bag) -> None:
    """Queries and their matches, evenly spread over the right closures."""
    found = live.drive.of(Outcome.RIGHT)
    chosen = [found[int((k + 0.5) * len(found) / PAIRS)] for k in range(PAIRS) if found]
    cells = figure.add_gridspec(
        PAIRS, 2, left=0.705, right=0.985, top=0.895, bottom=0.025, wspace=0.03, hspace=0.16
    )
    for row, verdict in enumerate(chosen):
        for column, (word, index) in enumerate(
            (("query", verdict.index), ("match", verdict.answer.match))
        ):
            recorded_ns = live.drive.answers[index].recorded_ns
            (image,) = pictures(drive, live.image_topic, {recorded_ns}).values()
            axes = figure.add_subplot(cells[row, column])
            axes.imshow(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color=COLOUR[Outcome.RIGHT], linewidth=2)
            axes.set_title(f"{word}, {live.seconds(index):.1f} s", fontsize="small", pad=3)


def _with_palette(image: Image.Image) -> Image.Image:
    """In COLOURS colours, the figure's own among them: a single red line must stay red."""
    kept = [to_rgb(colour) for colour in (*COLOUR.values(), BLUE, AMBER, INK, PAPER)]
    own = [round(255 * value) for rgb in kept for value in rgb]
    found = image.quantize(COLOURS - len(kept)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*own, *found[: 3 * (COLOURS - len(kept))]])
    return image.quantize(palette=palette)
