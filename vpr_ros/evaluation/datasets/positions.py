# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Right answers from positions on a plane."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.datasets.image_set import Indices

Positions = npt.NDArray[np.float64]


def within(database_m: Positions, queries_m: Positions, radius_m: float) -> tuple[Indices, ...]:
    """For each query (Q, 2) the database images (N, 2) at most `radius_m` away, rising.

    The limit itself counts, as in VPR-methods-evaluation. Memory stays O(N + Q + answers): the
    database is sorted by its first coordinate, and each query looks at its own strip.
    """
    order = np.argsort(database_m[:, 0], kind="stable")
    sorted_m = database_m[order]
    first = np.searchsorted(sorted_m[:, 0], queries_m[:, 0] - radius_m, side="left")
    last = np.searchsorted(sorted_m[:, 0], queries_m[:, 0] + radius_m, side="right")
    found = []
    for query_m, begin, end in zip(queries_m, first, last, strict=True):
        distance_m = np.linalg.norm(sorted_m[begin:end] - query_m, axis=1)
        found.append(np.sort(order[begin:end][distance_m <= radius_m]))
    return tuple(found)
