# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How one method does on the keyframes of a bag: the line it gets in the table of methods."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.curve import sweep
from vpr_ros.evaluation.metrics import RANKS, percent
from vpr_ros.evaluation.neighbours import Neighbours
from vpr_ros.evaluation.tables import TextTable
from vpr_ros.evaluation.truth import Truth


@dataclasses.dataclass(frozen=True)
class Standing:
    """Shares of the revisits; NaN where the bag has none."""

    method: str
    sequence: int  # frames; 0: single keyframes
    recall: dict[int, float]  # k -> R@k
    recall_at_full_precision: float
    average_precision: float
    max_f1: float
    encode_p50_ms: float
    descriptor_bytes: int


def standing(
    method: str,
    neighbours: Neighbours,
    truth: Truth,
    encode_ms: Sequence[float],
    descriptors: npt.NDArray[np.floating],
    sequence: int = 0,
) -> Standing:
    """By the score of the best match alone, without gates, over all keyframes (N).

    Matches that the truth does not know are left out, as in `judge`.
    """
    best = neighbours.best
    ranked = [
        i for i in np.flatnonzero(best >= 0) if truth.known[i] and truth.can_match(int(best[i]))
    ]
    curve = sweep(
        neighbours.score[ranked].astype(np.float64),
        neighbours.right[ranked, 0],
        possible=int(neighbours.revisits.sum()),
    )
    return Standing(
        method,
        sequence,
        {k: neighbours.recall_at(k) for k in RANKS},
        curve.recall_at_full_precision,
        curve.average_precision,
        curve.best_f1[0],
        float(np.median(encode_ms)),
        int(descriptors[0].nbytes),
    )


def standings_table(standings: Sequence[Standing], notes: Sequence[str]) -> TextTable:
    """One line a method; more than one frame: SeqSLAM."""
    headings = (
        "method",
        "frames",
        *(f"R@{k}\n%" for k in RANKS),
        "R@100P\n%",
        "avg. precision\n%",
        "max F1\n%",
        "encode\np50, ms",
        "descriptor\nbytes",
    )
    cells = tuple(
        (
            one.method,
            str(max(one.sequence, 1)),
            *(_cell(one.recall[k]) for k in RANKS),
            _cell(one.recall_at_full_precision),
            _cell(one.average_precision),
            _cell(one.max_f1),
            f"{one.encode_p50_ms:.1f}",
            str(one.descriptor_bytes),
        )
        for one in standings
    )
    meaning = (
        "The same keyframes, searched exhaustively; the score alone decides, no gate. R@100P: "
        "recall at 100 % precision. More than one frame: SeqSLAM over so many keyframes."
    )
    return TextTable("Methods", headings, cells, (meaning, *notes))


def _cell(share: float) -> str:
    return "-" if math.isnan(share) else percent(share).removesuffix(" %")
