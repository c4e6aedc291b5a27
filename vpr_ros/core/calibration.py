# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrations, and tables of them as the text of one parameter, which users can edit.

The table is a text because a ROS parameter cannot hold a table, and because it is set as a whole.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.model_digest import model_text, same_model


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The threshold measured for one sparsity of one model; NaN where nothing was measured."""

    sparsity: float = 0.0
    score_threshold: float = math.nan  # cosine, inclusive


def interpolated(points: Sequence[Calibration], sparsity: float) -> Calibration:
    """The calibration at a sparsity: linear between points, constant beyond, NaN without any."""
    if not points:
        return Calibration(sparsity)
    low = max(
        (p for p in points if p.sparsity <= sparsity), key=lambda p: p.sparsity, default=points[0]
    )
    high = min(
        (p for p in points if p.sparsity >= sparsity), key=lambda p: p.sparsity, default=points[-1]
    )
    span = high.sparsity - low.sparsity
    t = (sparsity - low.sparsity) / span if span > 0 else 0.0
    return Calibration(sparsity, (1 - t) * low.score_threshold + t * high.score_threshold)


@dataclasses.dataclass(frozen=True)
class CalibrationTable:
    """Thresholds measured by `vpr calibrate`."""

    model: str = ""  # that produced the scores; empty: unknown
    points: tuple[Calibration, ...] = ()  # rising in sparsity
    model_digest: str = ""  # of the model's weights; empty: unknown

    def of_another(self, model: str, digest: str) -> str:
        """The table's model in words if it is not the given one; otherwise empty."""
        if not self.model or same_model(self.model, self.model_digest, model, digest):
            return ""
        return model_text(self.model, self.model_digest)


def calibration_text(points: Iterable[Calibration], model: str = "", digest: str = "") -> str:
    """One row per calibration: sparsity and score.

    The model's name and the digest of its weights, if given, come first.
    """
    heading = (f"model {model}\n" if model else "") + (f"weights {digest}\n" if digest else "")
    return heading + "".join(
        # Thresholds are inclusive, so no digit of them may be rounded away.
        f"{p.sparsity!r} {p.score_threshold!r}\n"
        for p in points
    )


@lru_cache(maxsize=16)
def read_calibrations(text: str) -> CalibrationTable:
    """The table in a text; an empty table if the text is empty.

    Rows end with a newline or a semicolon. A third value, the margin of older tables, is ignored.
    The first rows may be "model NAME" and "weights DIGEST". Raises ConfigError naming the row that
    cannot be read.
    """
    rows = [row.split() for row in text.replace(";", "\n").splitlines() if row.strip()]
    heading = {"model": "", "weights": ""}
    while rows and len(rows[0]) > 1 and rows[0][0] in heading:
        key, *words = rows.pop(0)
        heading[key] = " ".join(words)  # a name may have spaces
    points = sorted((_read(row) for row in rows), key=lambda p: p.sparsity)
    for low, high in itertools.pairwise(points):
        if low.sparsity == high.sparsity:
            raise ConfigError(
                f"Parameter 'loop.calibration' has two rows for sparsity {low.sparsity:g}; "
                "give one."
            )
    return CalibrationTable(heading["model"], tuple(points), heading["weights"])


def _read(row: list[str]) -> Calibration:
    try:
        sparsity, score, *margin = map(float, row)
        point = None if len(margin) > 1 else Calibration(sparsity, score)
    except ValueError:  # no number; too few of them
        point = None
    if (
        point is None
        or not 0.0 <= point.sparsity < 1.0
        or not -1.0 <= point.score_threshold <= 1.0
    ):
        raise ConfigError(
            f"Parameter 'loop.calibration' has the row '{' '.join(row)}'; give sparsity in "
            "[0, 1) and score in [-1, 1]."
        )
    return point
