# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluated drive in one style: route, timeline, similarity, recall, scores."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vpr_ros.evaluation.evaluated_drive import Drive, Outcome, Verdict
from vpr_ros.evaluation.precision_recall import Floats

INK, PAPER = "#23282e", "#fbfbfa"  # the report replaces both, to follow light and dark
GREEN, RED, AMBER, BLUE, GREY = "#2f9e6e", "#d9473f", "#d08a1e", "#3f7fbf", "#98a1ab"
COLOUR = {
    Outcome.RIGHT: GREEN,
    Outcome.WRONG: RED,
    Outcome.MISSED: AMBER,
    Outcome.NEW: GREY,
    Outcome.UNKNOWN: BLUE,
}
STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": "medium",
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "svg.fonttype": "none",  # text stays text, in the page's typeface
}

SHEAR, DEPTH = 0.35, 0.5  # oblique projection of the ground
LIFT = 0.9  # height of the drive's end over the width of the ground
NARROW = 7.0  # inch; narrower figures are for phones
MANY = 5000  # with more keyframes the route is drawn as pixels, to keep the page small
SIDE = 500  # most keyframes in a similarity matrix, evenly chosen
# And the widths of the lines; of UNKNOWN, the closures.
LINES = (
    (Outcome.MISSED, 0.0),
    (Outcome.UNKNOWN, 0.7),
    (Outcome.RIGHT, 0.7),
    (Outcome.WRONG, 1.4),
)


def grid(axes: Axes) -> None:
    """Draw faint lines behind the data."""
    axes.grid(color=INK, alpha=0.1, linewidth=0.6)
    axes.set_axisbelow(True)


def panels(figure: Figure, count: int) -> list[Axes]:
    """Axes beside each other, in a figure for phones below each other."""
    narrow = figure.get_figwidth() < NARROW
    shape = (count, 1) if narrow else (1, count)
    return list(figure.subplots(*shape, squeeze=False).flat)


def drawing(
    title: str,
    draw: Callable[..., None],
    *values: object,
    size: tuple[float, float],
    narrow: tuple[float, float] | None = None,
) -> str:
    """HTML of what `draw(figure, *values)` draws, and if wanted drawn again for phones.

    Sizes are (width, height) [inch]; the page shows one of the two, by its width.
    """
    shown = [("", size)] if narrow is None else [("broad", size), ("narrow", narrow)]
    parts = []
    for name, inches in shown:
        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=inches, layout="constrained")
            draw(figure, *values)
        parts.append(f"<div class='{name}'>{svg(figure, title, name)}</div>")
    return f"<div class='drawing'>{''.join(parts)}</div>"


def svg(figure: Figure, title: str, salt: str = "") -> str:
    """The figure for an HTML page: it follows the page's width, typeface and ink.

    Two drawings of one thing need a `salt` each, or they share the names of their parts.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"vpr{salt}"}):
        figure.savefig(buffer, format="svg", transparent=True, dpi=160, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = text.replace(PAPER, "var(--paper)")
    text = re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"font: ([\d.]+px) '[^\";]*", r"font-size: \1; font-family: inherit", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def draw_route(figure: Figure, drive: Drive, positions: Floats) -> None:
    """Draw the route twice, from above and lifted by time, closures as lines.

    `positions` (N, 3) [m], NaN where not known.
    """
    flat, lifted = panels(figure, 2)
    ground = _ground(positions)
    _draw_closures(flat, drive, ground)
    flat.set(xlabel="[m]", ylabel="[m]", title="from above")
    flat.legend(handles=_legend(drive), loc="best")
    grid(flat)
    width = float(np.nanmax(np.ptp(ground[np.isfinite(ground).all(axis=1)], axis=0)))
    shadow = np.stack([ground[:, 0] + SHEAR * ground[:, 1], DEPTH * ground[:, 1]], 1)
    lifted.plot(*shadow.T, color=INK, alpha=0.15)
    height = np.linspace(0.0, LIFT * width, len(ground))
    _draw_closures(lifted, drive, shadow + np.stack([0 * height, height], 1))
    lifted.set_axis_off()
    lifted.set_title("lifted by time: steep lines\njoin a place with its earlier visit")
    for part in (flat, lifted):
        part.set_aspect("equal", adjustable="datalim")


def _ground(positions: Floats) -> Floats:
    """(N, 2) [m] in the plane in which the route is widest: x-y on robots, x-z in KITTI."""
    spread = np.nanmax(positions, axis=0) - np.nanmin(positions, axis=0)
    wide = np.sort(np.argsort(-spread, kind="stable")[:2])
    ground: Floats = positions[:, wide] - np.nanmin(positions[:, wide], axis=0)
    return ground


def _draw_closures(axes: Axes, drive: Drive, points: Floats) -> None:
    coarse = len(points) > MANY
    axes.plot(*points.T, color=BLUE, linewidth=1.3, zorder=2, rasterized=coarse)
    for order, (outcome, width) in enumerate(LINES, start=3):
        chosen, colour = _shown(drive, outcome), COLOUR[outcome]
        pairs = [(points[v.index], points[v.answer.match]) for v in chosen if width]
        lines = LineCollection(pairs, colors=colour, linewidths=width, alpha=0.8, zorder=order)
        lines.set_rasterized(coarse)
        axes.add_collection(lines)
        spots = points[[v.index for v in chosen]]
        x, y = spots.T
        axes.scatter(x, y, s=12, color=colour, zorder=order + 3, linewidths=0, rasterized=coarse)


def _shown(drive: Drive, outcome: Outcome) -> list[Verdict]:
    """The keyframes to draw: of those that are not judged, the closures."""
    chosen = drive.of(outcome)
    unjudged = outcome is Outcome.UNKNOWN
    return [v for v in chosen if v.answer.match is not None] if unjudged else chosen


def _name(outcome: Outcome) -> str:
    return "closure, not judged" if outcome is Outcome.UNKNOWN else outcome.value


def _legend(drive: Drive) -> list[Line2D]:
    handles = [Line2D([], [], color=BLUE, linewidth=1.3, label="route")]
    for outcome, width in LINES:
        count = len(_shown(drive, outcome))
        if outcome is Outcome.UNKNOWN and not count:
            continue
        label = f"{_name(outcome)} ({count})"
        handles.append(
            Line2D([], [], label=label, color=COLOUR[outcome], marker="o", markersize=4,
                   linewidth=width)
        )  # fmt: skip
    return handles


def draw_matches(figure: Figure, drive: Drive) -> None:
    """Draw, where there are no poses, which keyframe was matched with which."""
    axes = figure.subplots()
    for outcome, _ in LINES:
        chosen = _shown(drive, outcome)
        if outcome is not Outcome.UNKNOWN and drive.truth.missing:
            continue
        other = [(v.true if outcome is Outcome.MISSED else v.answer.match) or 0 for v in chosen]
        axes.plot([v.index for v in chosen], other, ".", color=COLOUR[outcome],
                  label=f"{_name(outcome)} ({len(chosen)})")  # fmt: skip
    total = len(drive.answers)
    axes.plot([0, total], [0, total], color=INK, alpha=0.2, linewidth=0.8)
    axes.set(xlabel="keyframe", ylabel="older keyframe")
    axes.legend(loc="upper left")
    grid(axes)


def draw_timeline(figure: Figure, drive: Drive) -> None:
    """Draw the best score of every keyframe over time, and below it what became of it."""
    scores, outcomes = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    rows = [o for o in COLOUR if drive.count(o) or o in (Outcome.RIGHT, Outcome.WRONG)]
    if drive.truth.missing:
        rows = [Outcome.UNKNOWN]
    seconds = np.array([drive.seconds(v.index) for v in drive.verdicts])
    best = np.array([v.answer.score for v in drive.verdicts])
    scores.scatter(seconds, best, s=9, color=GREY, linewidths=0, zorder=2)
    for row, outcome in enumerate(rows):
        chosen, colour = [v.index for v in _shown(drive, outcome)], COLOUR[outcome]
        scores.scatter(seconds[chosen], best[chosen], s=9, color=colour, linewidths=0, zorder=3)
        outcomes.vlines(seconds[chosen], row - 0.36, row + 0.36, color=colour, linewidth=1.1)
    scores.set_ylabel("best score")
    if len(seconds) > 1:
        scores.set_xlim(seconds.min(), seconds.max())
    grid(scores)
    outcomes.set_yticks(
        np.arange(len(rows)), [f"{_name(o)} ({len(_shown(drive, o))})" for o in rows]
    )
    outcomes.tick_params(axis="y", length=0)
    outcomes.spines["left"].set_visible(False)
    outcomes.set_ylim(len(rows) - 0.5, -0.5)
    outcomes.set_xlabel("time into the drive [s]")


def draw_similarity(figure: Figure, drive: Drive) -> None:
    """Draw the cosine of all keyframes with the closures on it, and beside it the truth."""
    left, *others = panels(figure, 1 if drive.truth.missing else 2)
    total = len(drive.answers)
    step = max(1, -(-total // SIDE))
    shown = np.arange(0, total, step)
    extent = (0.0, float(total), float(total), 0.0)
    older = shown[np.newaxis] < drive.first_recent[shown][:, np.newaxis]

    rows = drive.descriptors[shown].astype(np.float32)
    cosine = rows @ rows.T
    low, high = np.percentile(cosine[older], (2, 99.8)) if older.any() else (0.0, 1.0)
    picture = left.imshow(
        cosine, cmap="magma", vmin=low, vmax=high, extent=extent, interpolation="nearest"
    )
    figure.colorbar(picture, ax=left, shrink=0.8, label="cosine")
    for outcome, colour in ((Outcome.RIGHT, "#6ee7b0"), (Outcome.UNKNOWN, "#7cc4ff"),
                            (Outcome.WRONG, RED)):  # fmt: skip
        chosen = _shown(drive, outcome)
        if not chosen:
            continue
        left.plot(
            [v.answer.match or 0 for v in chosen], [v.index for v in chosen], ".", markersize=3,
            color=colour, label=f"{_name(outcome)} ({len(chosen)})",
        )  # fmt: skip
    if left.get_legend_handles_labels()[0]:
        left.legend(
            loc="upper right", handletextpad=0.1, markerscale=4, frameon=True, facecolor=PAPER,
            edgecolor="none", framealpha=0.85,
        )  # fmt: skip
    left.set_title("similarity and closures")

    left.set(xlabel="older keyframe", ylabel="keyframe")
    if not others:
        return
    place = drive.truth.same(shown, shown)
    level = np.select([place & older, place, ~older], [3, 2, 1], 0)
    colours = ListedColormap(["#00000000", f"{GREY}22", f"{GREY}77", AMBER])
    (right,) = others
    right.imshow(level, cmap=colours, vmin=0, vmax=3, extent=extent, interpolation="nearest")
    right.set_title("truth: loops to find; grey: just seen")
    right.set(xlabel="older keyframe", ylabel="keyframe")


def draw_curve(figure: Figure, drive: Drive) -> None:
    """Draw precision over recall of the bare score in percent, and the loop detector."""
    axes = figure.subplots()
    curve = drive.curve
    recall, precision = curve.recall * 100, curve.precision * 100
    if drive.revisits and len(recall):
        # A curve begins at its best score; up to there its precision is that of the best score.
        axes.plot([0, *recall], [precision[0], *precision], color=BLUE, linewidth=1.8, zorder=3,
                  label="score alone")  # fmt: skip
        axes.axvline(
            curve.recall_at_full_precision * 100, color=INK, alpha=0.5, linewidth=0.8,
            linestyle=(0, (4, 3)), label="last recall with nothing wrong",
        )  # fmt: skip
    if not math.isnan(drive.precision) and drive.revisits:
        axes.plot(
            drive.recall * 100, drive.precision * 100, "o", color=GREEN, markersize=8, zorder=4,
            clip_on=False, label="closures of the loop detector",
        )  # fmt: skip
    axes.set(xlim=(0, 100), ylim=(0, 101), xlabel="recall [%]", ylabel="precision [%]")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", frameon=True, facecolor=PAPER, edgecolor="none", framealpha=1.0
        )
    grid(axes)


def draw_scores(figure: Figure, drive: Drive, threshold: float) -> None:
    """Draw a histogram of the best scores; `threshold`: lowest considered, NaN: none."""
    axes = figure.subplots()
    ranked = [
        v for v in drive.verdicts
        if v.answer.best is not None and v.outcome is not Outcome.UNKNOWN
    ]  # fmt: skip
    scores = [
        np.array([v.answer.score for v in ranked if v.best_right is kind])
        for kind in (True, False)
    ]
    values = np.concatenate(scores)
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    bins = np.linspace(low, high + 1e-6, 41).tolist()
    for kind, colour, name in zip(scores, (GREEN, RED), ("right", "wrong"), strict=True):
        axes.hist(kind, bins, color=colour, alpha=0.65, label=f"best match {name} ({len(kind)})")
    if np.isfinite(threshold) and low <= threshold <= high:
        axes.axvline(threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 3)),
                     label=f"threshold {threshold:.3f}")  # fmt: skip
    axes.set(xlabel="score of the best older match (cosine)", ylabel="keyframes")
    axes.legend(loc="upper left")
    grid(axes)
