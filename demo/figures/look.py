# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The look of the evaluation's figures, at the demo's sizes."""

from __future__ import annotations

import matplotlib

from vpr_ros.evaluation.figures.look import STYLE

FAINT = 0.35  # opacity of what only orients


def set_up(font_pt: float = 10.0) -> None:
    """Make matplotlib draw without a window, in this look."""
    matplotlib.use("Agg")
    matplotlib.rcParams.update({**STYLE, "font.size": font_pt})
