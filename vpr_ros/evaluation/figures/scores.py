# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The best scores of right and wrong matches: how well a threshold can part them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from vpr_ros.evaluation.figures.look import GREEN, INK, RED, grid
from vpr_ros.evaluation.judge import Judgement
from vpr_ros.evaluation.tally import Outcome


def draw_scores(axes: Axes, judged: Judgement, threshold: float) -> None:
    """Histogram of every keyframe's best score; `threshold`: the score gate's, NaN for none."""
    ranked = [
        v for v in judged.verdicts
        if v.answer.best is not None and v.outcome is not Outcome.UNKNOWN
    ]  # fmt: skip
    scores = [
        np.array([v.answer.score for v in ranked if v.best_right is kind])
        for kind in (True, False)
    ]
    values = np.concatenate(scores)
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    bins = np.linspace(low, high + 1e-6, 41)
    for kind, colour, name in zip(scores, (GREEN, RED), ("right", "wrong"), strict=True):
        axes.hist(kind, bins, color=colour, alpha=0.65, label=f"best match {name} ({len(kind)})")
    if np.isfinite(threshold) and low <= threshold <= high:
        axes.axvline(threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 3)),
                     label=f"score gate {threshold:.3f}")  # fmt: skip
    axes.set_xlabel("score of the best older match (cosine)")
    axes.set_ylabel("keyframes")
    axes.legend(loc="upper left", fontsize="small")
    grid(axes)
