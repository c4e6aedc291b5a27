# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SeqSLAM: recognise a place by the frames that led to it (Milford and Wyeth, ICRA 2012)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.search import Array, Indices, Ranked, rank

VELOCITIES = np.arange(0.8, 1.21, 0.1)  # database frames per query frame, as in the paper
WINDOW = 5  # database frames on either side: a window of 10, as in the paper
CELLS = 100_000_000  # of the difference matrix, 400 MB and several copies
LEAST_DEVIATION = 1e-6


def search_sequences(
    queries: npt.NDArray[np.floating],
    database: npt.NDArray[np.floating],
    searchable: Indices | None,
    frames: Indices,
    length: int,
) -> Ranked:
    """Like `search`, but scores lines through the difference matrix instead of single frames.

    Queries (Q, D) with the frame numbers `frames` (Q,), and the database (N, D), must be drives,
    image after image; `length`: frames per sequence. Scores are contrasts, not cosines. Raises
    ConfigError if the difference matrix would be too large.
    """
    if length < 2:
        raise ConfigError(
            f"A sequence of {length} frame(s) is not one; give 2 or more, or 0 for none."
        )
    if len(queries) * len(database) > CELLS:
        raise ConfigError(
            f"Sequence matching holds all {len(queries)} x {len(database)} differences, more than "
            f"{CELLS:,}. Leave it out for a set of this size."
        )
    difference = 1 - queries.astype(np.float32) @ database.astype(np.float32).T
    searched = ~np.isnan(difference)  # of an image that cannot be read
    if searchable is not None:
        searched &= np.arange(len(database)) < searchable[:, np.newaxis]
    contrast = local_contrast(difference, searched)
    # A frame that is not a query counts as 0, the local mean.
    row = frames - frames.min()
    drive = np.zeros((row.max() + 1, len(database)), dtype=np.float32)
    drive[row] = contrast
    return rank(np.where(searched, -best_lines(drive, length)[row], np.float32(-np.inf)))


def local_contrast(difference: Array, searched: npt.NDArray[np.bool_]) -> Array:
    """Differences (Q, N) in deviations from the mean of their neighbours in the database.

    Neighbours are the searched images at most `WINDOW` away; what is not searched becomes 0, the
    local mean.
    """
    values = np.where(searched, difference, 0).astype(np.float64)
    count = np.maximum(_window_mean(searched.astype(np.float64)), 1e-9)
    mean = _window_mean(values) / count
    variance = _window_mean(values**2) / count - mean**2
    deviation = np.sqrt(np.maximum(variance, LEAST_DEVIATION**2))
    return np.where(searched, (values - mean) / deviation, 0).astype(np.float32)


def best_lines(contrast: Array, length: int) -> Array:
    """For each cell (Q, N) the lowest mean contrast along the lines that end there.

    A line has one of the constant `VELOCITIES`. Cells before the start of either drive count as
    0, the local mean: a short past neither helps nor harms.
    """
    lowest = np.full(contrast.shape, np.inf, dtype=np.float32)
    for velocity in VELOCITIES:
        total = np.zeros_like(contrast)
        for lag in range(min(length, contrast.shape[0])):
            step = round(velocity * lag)
            if step < contrast.shape[1]:
                total[lag:, step:] += contrast[: len(contrast) - lag, : contrast.shape[1] - step]
        np.minimum(lowest, total, out=lowest)
    return lowest / np.float32(length)


def _window_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over WINDOW columns to either side, the column itself included; beyond is 0."""
    return np.asarray(uniform_filter1d(values, 2 * WINDOW + 1, axis=1, mode="constant"))
