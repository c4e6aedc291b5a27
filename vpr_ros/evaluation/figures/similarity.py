# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The similarity matrix beside the truth: what the descriptors see, and what is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.figures.look import AMBER, COLOUR, GREY, PAPER
from vpr_ros.evaluation.tally import Outcome

SIDE = 500  # at most so many keyframes are drawn, evenly chosen


def draw_similarity(axes: Sequence[Axes], run: BagRun) -> None:
    """Draw on two axes: cosine with the closures on it, and the truth."""
    total = len(run.answers)
    step = max(1, -(-total // SIDE))
    shown = np.arange(0, total, step)
    rows = run.descriptors[shown].astype(np.float32)
    extent = (0.0, float(total), float(total), 0.0)
    older = shown[np.newaxis] < run.limits[shown][:, np.newaxis]

    cosine = rows @ rows.T
    low, high = np.percentile(cosine[older], (2, 99.8)) if older.any() else (0.0, 1.0)
    picture = axes[0].imshow(
        cosine, cmap="magma", vmin=low, vmax=high, extent=extent, interpolation="nearest"
    )
    axes[0].figure.colorbar(picture, ax=axes[0], shrink=0.8, label="cosine")
    for outcome in (Outcome.RIGHT, Outcome.WRONG):
        chosen = [v for v in run.judgement.verdicts if v.outcome is outcome]
        axes[0].plot(
            [v.answer.match for v in chosen], [v.index for v in chosen], ".", markersize=3,
            color={Outcome.RIGHT: "#6ee7b0"}.get(outcome, COLOUR[outcome]),
            label=f"{outcome.value} ({len(chosen)})",
        )  # fmt: skip
    axes[0].legend(
        loc="upper right",
        fontsize="small",
        handletextpad=0.1,
        markerscale=4,
        frameon=True,
        facecolor=PAPER,
        edgecolor="none",
        framealpha=0.85,
    )
    axes[0].set_title("similarity and closures", fontsize="medium")

    place = np.isfinite(np.vstack([_tile_row(run, int(row), shown, step) for row in shown]))
    level = np.zeros(place.shape, np.uint8)
    level[~older] = 1
    level[place & ~older] = 2
    level[place & older] = 3
    colours = ListedColormap(["#00000000", f"{GREY}22", f"{GREY}77", AMBER])
    axes[1].imshow(level, cmap=colours, vmin=0, vmax=3, extent=extent, interpolation="nearest")
    axes[1].set_title("truth: loops to find; grey: just seen", fontsize="medium")
    for part in axes:
        part.set_xlabel("older keyframe")
        part.set_ylabel("keyframe")


def _tile_row(run: BagRun, row: int, shown: np.ndarray, step: int) -> np.ndarray:
    """The truth of one keyframe against those shown."""
    return run.truth.tile(slice(row, row + 1), slice(0, len(run.answers)))[:, ::step][
        :, : len(shown)
    ]
