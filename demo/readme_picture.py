# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The one picture for the README: route, matched pairs and timeline, composed."""

from __future__ import annotations

from pathlib import Path

import cv2
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from demo.figures.gallery import choose
from demo.figures.look import set_up
from demo.metrics import ms
from demo.results import Results
from demo.route_figure import draw_route
from demo.timeline_figure import draw_timeline
from vpr_ros.evaluation.figures.look import AMBER, BLUE, COLOUR, INK, PAPER
from vpr_ros.evaluation.metrics import Metrics, percent
from vpr_ros.evaluation.tally import Outcome

PAIRS = 4
FONT_PT = 13.0  # at 100 dpi: still legible at half size
COLOURS = 256  # of the PNG's palette: a quarter of the size, and the eye sees no difference


def write_picture(path: Path, results: Results, metrics: Metrics) -> None:
    """Write a PNG of 1600x900 px."""
    set_up(FONT_PT)
    figure = Figure(figsize=(16, 9), dpi=100, facecolor=PAPER)
    draw_route(figure.add_axes((0.01, 0.43, 0.65, 0.49)), results.truth, results.score)
    cells = figure.add_gridspec(
        PAIRS, 2, left=0.705, right=0.985, top=0.895, bottom=0.025, wspace=0.03, hspace=0.16
    )
    for row, pair in enumerate(choose(results, Outcome.RIGHT, PAIRS)):
        for column, image in enumerate(pair.images):
            axes = figure.add_subplot(cells[row, column])
            axes.imshow(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color=COLOUR[pair.outcome], linewidth=2)
            view = (pair.query, pair.other)[column]
            when = f"{('query', 'match')[column]}, {results.seconds(view.stamp_ns):.1f} s"
            axes.set_title(when, fontsize="small", pad=3)
    parts = figure.add_gridspec(
        3, 1, left=0.135, right=0.645, top=0.385, bottom=0.075, hspace=0.16,
        height_ratios=(1, 1, 1.1),
    )  # fmt: skip
    draw_timeline([figure.add_subplot(part) for part in parts], results)
    figure.text(0.015, 0.945, headline(metrics), fontsize=21, weight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    with Image.open(path) as image:
        _with_palette(image.convert("RGB")).save(path, optimize=True)


def _with_palette(image: Image.Image) -> Image.Image:
    """In COLOURS colours, the figure's own among them: a single red line must stay red."""
    kept = [to_rgb(colour) for colour in (*COLOUR.values(), BLUE, AMBER, INK, PAPER)]
    own = [round(255 * value) for rgb in kept for value in rgb]
    found = image.quantize(COLOURS - len(kept)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*own, *found[: 3 * (COLOURS - len(kept))]])
    return image.quantize(palette=palette)


def headline(m: Metrics) -> str:
    """The drive in one line."""
    return (
        f"{m['closures']} loop closures in {m['duration_s']:.0f} s: "
        f"precision {percent(m['precision'])}, recall {percent(m['recall'])}, "
        f"{ms(m['latency_p50_ms'])} from image to closure"
    )
