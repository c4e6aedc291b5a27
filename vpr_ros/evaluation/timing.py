# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long network and search take."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.images import Image, preprocess
from vpr_ros.evaluation.ranking import RANKS, Array, best

TIMED_RUNS = 100


def network_ms(encoder: Encoder, image: Image, sparsities: Sequence[float]) -> list[float]:
    """Median time of one run of the network, without decoding and resizing, ms per sparsity.

    The sparsities take turns, so that a busy spell of the machine hits them all.
    """
    pixels = preprocess(image, encoder.contract)
    times = np.empty((TIMED_RUNS, len(sparsities)))
    for turn in range(-1, TIMED_RUNS):  # the first turn warms up and is overwritten by the last
        for column, sparsity in enumerate(sparsities):
            start = time.perf_counter()
            encoder.run(pixels, sparsity)
            times[turn, column] = time.perf_counter() - start
    return [1e3 * float(value) for value in np.median(times, axis=0)]


def search_seconds(queries: Array, database: Array) -> npt.NDArray[np.float64]:
    """Time (Q,) of an exhaustive search for each of the `queries` (Q, D), one at a time."""
    times = np.empty(len(queries))
    for i, query in enumerate(queries):
        start = time.perf_counter()
        best(query[np.newaxis] @ database.T, RANKS[-1])
        times[i] = time.perf_counter() - start
    return times
