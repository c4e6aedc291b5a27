# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The index of descriptors: exact inner product by FAISS, and what can best be spared of it."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]


def new_index(size: int, precision: str) -> Any:
    """An empty faiss.IndexIDMap2 of descriptors (size,); `precision` is float16 or float32."""
    flat: Any
    if precision == "float32":
        flat = faiss.IndexFlatIP(size)
    else:
        flat = faiss.IndexScalarQuantizer(
            size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        flat.is_trained = True  # half precision needs no training
    index = faiss.IndexIDMap2(flat)
    index.own_fields = True
    flat.this.disown()
    return index


def most_redundant(rows: Vector, count: int) -> set[int]:
    """Positions of `count` rows (N, D), in order of time, that are most like the one before.

    Never the first, nor one whose predecessor is chosen, since it is then no longer redundant.
    """
    likeness = np.concatenate(([-1.0], (rows[1:] * rows[:-1]).sum(axis=1)))
    gone: set[int] = set()
    for position in map(int, np.argsort(-likeness)):
        if position and position - 1 not in gone:
            gone.add(position)
        if len(gone) >= count:
            break
    return gone
