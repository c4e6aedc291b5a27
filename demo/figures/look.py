# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One look for all figures: colours that mean the same everywhere, and SVG for the report."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demo.score import Outcome

INK, PAPER = "#23282e", "#fbfbfa"  # the report replaces both, to follow light and dark
GREEN, RED, GREY, BLUE, AMBER = "#2f9e6e", "#d9473f", "#98a1ab", "#3f7fbf", "#d08a1e"
FAINT = 0.35  # opacity of what only orients
COLOUR = {
    Outcome.RIGHT: GREEN,
    Outcome.WRONG: RED,
    Outcome.MISSED: GREY,
    Outcome.NEW: "#c9b37e",
}


def set_up(font_pt: float = 10.0) -> None:
    """Make matplotlib draw without a window, in this look."""
    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {
            "font.size": font_pt,
            "text.color": INK,
            "axes.facecolor": "none",
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "legend.frameon": False,
            "svg.fonttype": "none",  # text stays text, in the page's typeface
        }
    )


def grid(axes: Axes) -> None:
    """Faint horizontal lines behind the data."""
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)


def svg(figure: Figure, title: str) -> str:
    """The figure for an HTML page: it follows the page's width, typeface and ink."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = text.replace(PAPER, "var(--paper)")
    text = re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"font: ([\d.]+px) '[^\";]*", r"font-size: \1; font-family: inherit", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
