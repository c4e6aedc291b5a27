# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which sparsities are worth the governor's while: recall against time along the dial.

python -m bench.budgets tat-vpr-s mobilenetv2-gem --data ../shared/data --figure docs/budgets.png

R@1 is the mean over the sets, queries at a sparsity in a map made at 0, since a robot maps while
its battery is full, and in a map made at that sparsity. Times are shares of the network's time at
0, the sparsities taking turns. The governor's levels are the fastest sparsities whose loss stays
within a point (medium) and three points (low); with --write they go into the model files.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from bench.sets import HARD, SETS, open_sets
from vpr_ros.core.errors import VprError
from vpr_ros.evaluation.dataset_run import measure_all
from vpr_ros.evaluation.datasets.image_set import ImageSet, read_image
from vpr_ros.evaluation.methods import Model
from vpr_ros.evaluation.sweep_figure import COLOURS
from vpr_ros.evaluation.timing import network_ms

STEPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
LEVELS = {"medium": 1.0, "low": 3.0}  # points of R@1 that a level may cost


@dataclasses.dataclass(frozen=True)
class Budget:
    """One sparsity of a model."""

    sparsity: float
    time: float  # of the network, share of that at 0
    in_dense_map: float  # mean R@1 over the sets, %, in a map at 0
    in_own_map: float  # the same in a map at this sparsity


def budgets(model: Model, sets: Sequence[ImageSet], console: Console) -> list[Budget]:
    """The dial of a model, from 0 on."""
    steps = [s for s in STEPS if s <= model.sparsity_max]
    recalls: dict[tuple[float, float], list[float]] = {}
    for image_set in sets:
        for row in measure_all(image_set, [model], steps, console):
            found = recalls.setdefault((row.map_sparsity, row.query_sparsity), [])
            found.append(row.recall[1])
    times = network_ms(model.encoder, read_image(sets[0].queries[0]), steps)
    mean = {pair: float(np.mean(values)) for pair, values in recalls.items()}
    return [
        Budget(s, time / times[0], mean[0.0, s], mean[s, s])
        for s, time in zip(steps, times, strict=True)
    ]


def level(found: Sequence[Budget], allowed: float) -> Budget:
    """The fastest that loses at most `allowed` points of what is found at 0, in a map at 0."""
    least = found[0].in_dense_map - allowed
    return min((b for b in found if b.in_dense_map >= least), key=lambda b: b.time)


def print_table(name: str, found: Sequence[Budget]) -> None:
    """The dial of one model and what its levels would be."""
    print(f"\n{name}\n")
    print("| sparsity | time | R@1, map at 0 | R@1, map at the same |")
    print("|" + "---:|" * 4)
    for b in found:
        print(f"| {b.sparsity:g} | {b.time:.2f} | {b.in_dense_map:.1f} | {b.in_own_map:.1f} |")
    for label, allowed in LEVELS.items():
        chosen = level(found, allowed)
        print(
            f"\n{label}, at most {allowed:g} points: {chosen.sparsity:g} in "
            f"{chosen.time:.2f} of the time"
        )


def own_levels(found: Sequence[Budget]) -> tuple[float, float]:
    """Sparsity of a medium and of a low battery; the latter is no lower."""
    medium, low = (level(found, allowed).sparsity for allowed in LEVELS.values())
    return medium, max(medium, low)


def draw(dials: dict[str, list[Budget]], path: Path) -> None:
    """R@1 over time; the governor's levels as rings."""
    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, (name, found) in zip(COLOURS, dials.items(), strict=False):
        across = [b.time for b in found]
        axes.plot(
            across, [b.in_own_map for b in found], color=colour, linestyle=":", marker=".",
            linewidth=1, label=f"{name}, map at the same sparsity",
        )  # fmt: skip
        up = [b.in_dense_map for b in found]
        axes.plot(across, up, color=colour, marker="o", markersize=4, label=f"{name}, map at 0")
        rings = [b for b in found if b.sparsity in (0.0, *own_levels(found))]
        axes.scatter(
            [b.time for b in rings], [b.in_dense_map for b in rings], s=110, facecolors="none",
            edgecolors=colour, zorder=3,
        )  # fmt: skip
        for b in found:
            axes.annotate(
                f"{b.sparsity:g}", (b.time, b.in_dense_map), textcoords="offset points",
                xytext=(0, -15), ha="center", fontsize=8, color=colour,
            )  # fmt: skip
    axes.set_xlabel("time of the network, share of that at sparsity 0")
    axes.set_ylabel("R@1, mean over the sets, %")
    axes.set_title("Recall along the dial; rings: the governor's levels", fontsize=10)
    axes.margins(x=0.06, y=0.16)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)


def main() -> int:
    """Measure and print; 0 unless an input is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="names or paths of models with a dial")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--figure", type=Path, help="where to draw")
    parser.add_argument("--write", action="store_true", help="levels into the model files")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    console = Console(stderr=True)
    try:
        sets = open_sets(options.data, (*SETS, HARD))
        models = [Model(name, options.threads) for name in options.models]
        dials = {model.name: budgets(model, sets, console) for model in models}
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    for name, found in dials.items():
        print_table(name, found)
    if options.write:
        from vpr_ros.export.write import write_levels  # needs onnx

        for model in models:
            write_levels(model.encoder.path, own_levels(dials[model.name]))
    if options.figure:
        draw(dials, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
