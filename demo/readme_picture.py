# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The one picture for the README: route, matched pairs and timeline, composed."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from demo.live_run import LiveRun
from demo.route_figure import draw_route
from demo.timeline_figure import draw_timeline
from vpr_ros.evaluation.bag import Bag, pictures
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.figures import AMBER, BLUE, COLOUR, INK, PAPER, STYLE

PAIRS = 4
FONT_PT = 13.0  # at 100 dpi: still legible at half size
COLOURS = 256  # of the PNG's palette: a quarter of the size, and the eye sees no difference


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
