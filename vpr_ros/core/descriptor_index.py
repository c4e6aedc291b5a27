# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The index of descriptors: exact inner product by FAISS, and which ones are redundant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

# A second thread does not speed up single queries, and OpenMP's threads spin: next to a busy
# camera driver a search took 20 ms instead of 0.04 ms (20 keyframes, 2 cores).
faiss.omp_set_num_threads(1)

BACKGROUND = 100  # places

Vector = npt.NDArray[np.float32]


class DescriptorIndex:
    """Descriptors (D,) by sequence number, in order of arrival; the search is exhaustive."""

    def __init__(self, size: int, precision: str) -> None:
        """Descriptors have `size` values, stored in `precision`: float16 or float32."""
        self.size = size
        self._type = np.dtype(precision)
        flat: Any  # FAISS has no usable types
        if precision == "float32":
            flat = faiss.IndexFlatIP(size)
        else:
            flat = faiss.IndexScalarQuantizer(
                size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            )
            flat.is_trained = True  # half precision needs no training
        self._index: Any = faiss.IndexIDMap2(flat)
        self._index.own_fields = True
        flat.this.disown()

    @property
    def row_bytes(self) -> int:
        """Memory of one descriptor [bytes]."""
        return self.size * self._type.itemsize

    def add(self, rows: Vector, sequences: npt.NDArray[np.int64]) -> None:
        """Add N descriptors (N, D)."""
        self._index.add_with_ids(np.ascontiguousarray(rows, np.float32), sequences)

    def remove(self, sequences: Iterable[int]) -> None:
        """Remove the descriptors with these sequence numbers."""
        self._index.remove_ids(np.array(sorted(sequences), np.int64))

    def search(self, descriptor: Vector, count: int, selector: Any) -> Iterator[tuple[int, float]]:
        """(sequence, cosine) of the best among the descriptors that a faiss.IDSelector accepts."""
        parameters: Any = faiss.SearchParameters
        scores, sequences = self._index.search(
            descriptor[np.newaxis], count, params=parameters(sel=selector)
        )
        for sequence, score in zip(sequences[0].tolist(), scores[0].tolist(), strict=True):
            if sequence >= 0:
                yield sequence, score

    def descriptors(self, sequences: Iterable[int]) -> Vector:
        """N descriptors (N, D), rounded to the storage precision."""
        rows: Vector = self._index.reconstruct_batch(np.fromiter(sequences, np.int64))
        return rows

    def background(self, descriptor: Vector, sequences: Sequence[int]) -> float:
        """The cosine that three quarters of the places stay below; 1 if there is no place.

        At most BACKGROUND places are compared, spread evenly over the sequence numbers.
        """
        if not sequences:
            return 1.0
        spread = sequences[:: math.ceil(len(sequences) / BACKGROUND)]
        return float(np.quantile(self.descriptors(spread) @ descriptor, 0.75))

    def first(self, count: int) -> Vector:
        """The first descriptors (count, D) in order of arrival."""
        rows: Vector = faiss.downcast_index(self._index.index).reconstruct_n(0, count)
        return rows

    def stored(self) -> npt.NDArray[Any]:
        """A copy of all descriptors (N, D) as they are stored, in order of arrival."""
        flat: Any = faiss.downcast_index(self._index.index)
        codes = faiss.vector_to_array(flat.codes)
        rows: npt.NDArray[Any] = codes.view(self._type).reshape(-1, self.size)
        return rows


def most_redundant(rows: Vector, count: int) -> set[int]:
    """Positions of the `count` rows (N, D), in order of time, most similar to the row before.

    The first row is never chosen, nor a row whose predecessor is chosen, because it is then no
    longer redundant.
    """
    likeness = np.concatenate(([-1.0], np.einsum("nd,nd->n", rows[1:], rows[:-1])))
    gone: set[int] = set()
    for position in map(int, np.argsort(-likeness)):
        if position and position - 1 not in gone:
            gone.add(position)
        if len(gone) >= count:
            break
    return gone
