# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SeqSLAM: recognise a place by the frames that led to it (Milford and Wyeth, ICRA 2012)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.image_set import Indices
from vpr_ros.evaluation.search import NOBODY, RANKS, Array, Ranked, best

VELOCITIES = np.arange(0.8, 1.21, 0.1)  # database frames per query frame, as in the paper
WINDOW = 5  # database frames on either side: a window of 10, as in the paper
CELLS = 100_000_000  # of the difference matrix, 400 MB and several copies
LEAST_DEVIATION = 1e-6


class SequenceRanking:
    """Like Ranking, but scores lines through the difference matrix instead of single frames.

    Queries and database must be drives, image after image.
    """

    def __init__(
        self,
        queries: Array,
        frames: Indices,
        database: int,
        length: int,
        searchable: Indices | None = None,
    ) -> None:
        """`queries` (Q, D) with frame numbers `frames` (Q,), among `database` images.

        `length`: frames per sequence; `searchable` as in Ranking. Raises ConfigError if the
        difference matrix would be too large.
        """
        if length < 2:
            raise ConfigError(
                f"A sequence of {length} frame(s) is not one; give 2 or more, or 0 for none."
            )
        if len(queries) * database > CELLS:
            raise ConfigError(
                f"Sequence matching holds all {len(queries)} x {database} differences, more than "
                f"{CELLS:,}. Leave it out for a set of this size."
            )
        self._queries = queries
        self._frames = frames - frames.min()
        self._length = length
        self._searched = np.ones((len(queries), database), dtype=bool)
        if searchable is not None:
            self._searched = np.arange(database) < searchable[:, None]
        self._difference = np.zeros((len(queries), database), dtype=np.float32)

    def add(self, descriptors: Array, start: int) -> None:
        """Add a chunk (C, D) of the database whose first image has the index `start`."""
        part = slice(start, start + len(descriptors))
        self._difference[:, part] = 1 - self._queries @ descriptors.T

    def ranked(self) -> Ranked:
        """The best of all that was added; scores are contrasts, not cosines."""
        contrast = local_contrast(self._difference, self._searched)
        # A frame that is not a query counts as 0, the local mean.
        drive = np.zeros((self._frames.max() + 1, contrast.shape[1]), dtype=np.float32)
        drive[self._frames] = contrast
        lines = best_lines(drive, self._length)[self._frames]
        scores = np.where(self._searched, -lines, -np.inf)
        found, index = best(scores.astype(np.float32), RANKS[-1])
        index = np.where(found == -np.inf, NOBODY, index)
        missing = ((0, 0), (0, RANKS[-1] - index.shape[1]))
        return Ranked(
            np.pad(index, missing, constant_values=NOBODY),
            np.pad(found, missing, constant_values=-np.inf),
        )


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
