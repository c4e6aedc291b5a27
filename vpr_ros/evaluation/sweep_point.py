# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a sweep measures at one step of the dial, for its tables and its figure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Point:
    """One model at one sparsity; a baseline has neither MACs nor a file."""

    model: str
    sparsity: float
    gmac: float | None  # per image
    ms: float | None  # network only
    mb: float | None  # of the file
    recall: dict[int, float]  # N -> R@N, %; map and query at this sparsity
    recall_dense_map: float  # R@1, %; map at sparsity 0
