# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The run's log: one CSV that grows, and its curves."""

from __future__ import annotations

import csv
from pathlib import Path

COLUMNS = (
    "minutes", "stage", "step", "loss", "mined", "rate", "measure", "value", "sparsity", "cosine",
)  # fmt: skip


class Log:
    """Rows of COLUMNS; a step leaves `measure` empty, a validation fills it. Survives a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            with path.open("w", newline="") as file:
                csv.writer(file).writerow(COLUMNS)

    def add(self, **values: object) -> None:
        """One row; absent columns stay empty."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(values)


def draw_curves(log: Path, picture: Path) -> None:
    """Loss and recalls over minutes of training, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [(float(r["minutes"]), float(r["loss"])) for r in rows if r["loss"]]
    measures = sorted({r["measure"] for r in rows if r["measure"]})
    figure, axes = pyplot.subplots(
        2 if measures else 1, 1, sharex=True, squeeze=False, figsize=(8, 6), layout="constrained"
    )
    above, last = axes[0, 0], axes[-1, 0]
    above.plot(*zip(*steps, strict=True), linewidth=0.8)
    above.set_ylabel("loss")
    above.grid(alpha=0.3)
    last.set_xlabel("training, min")
    for name in measures:
        points = [(float(r["minutes"]), float(r["value"])) for r in rows if r["measure"] == name]
        dashed = "--" if name.endswith("R@100P") else "-"
        last.plot(*zip(*points, strict=True), dashed, marker=".", label=name)
    if measures:
        last.set_ylabel("validation, %")
        last.grid(alpha=0.3)
        last.legend(fontsize="x-small", ncols=2)
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
