# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One style for all figures: colours that mean the same everywhere, and SVG for the report."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vpr_ros.evaluation.evaluated_drive import Outcome

INK, PAPER = "#23282e", "#fbfbfa"  # the report replaces both, to follow light and dark
GREEN, RED, AMBER, BLUE, GREY = "#2f9e6e", "#d9473f", "#d08a1e", "#3f7fbf", "#98a1ab"
COLOUR = {
    Outcome.RIGHT: GREEN,
    Outcome.WRONG: RED,
    Outcome.MISSED: AMBER,
    Outcome.NEW: GREY,
    Outcome.UNKNOWN: GREY,
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
    "svg.hashsalt": "vpr",  # the same figure is the same file
}


def grid(axes: Axes) -> None:
    """Draw faint lines behind the data."""
    axes.grid(color=INK, alpha=0.1, linewidth=0.6)
    axes.set_axisbelow(True)


def svg(figure: Figure, title: str) -> str:
    """The figure for an HTML page: it follows the page's width, typeface and ink."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, dpi=160, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = text.replace(PAPER, "var(--paper)")
    text = re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"font: ([\d.]+px) '[^\";]*", r"font-size: \1; font-family: inherit", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
