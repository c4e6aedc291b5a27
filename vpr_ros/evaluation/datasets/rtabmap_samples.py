# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""rtabmap_samples: two laps of one office corridor, revisits checked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.evaluation.datasets.image_set import ImageSet, numbers, read_rows
from vpr_ros.evaluation.datasets.options import DatasetOptions

LAP = 40  # frames
RECENT = 10  # the frames before a query that are not searched, counted with the query itself
RIGHT = 2  # frames
FRAMES = 84


def load_rtabmap_samples(path: Path, options: DatasetOptions) -> ImageSet:
    """The verified revisits as queries among the frames before them, the last ones left out.

    Frames of the later laps that could not be verified by geometry are no queries; those of the
    first lap have nothing to find.
    """
    table = path / "revisits.csv"
    rows = [row for row in read_rows(table, ("query", "match")) if row["match"]]
    frame = np.arange(1, FRAMES + 1)
    asked, match = numbers(rows, ("query", "match"), table).astype(int).T
    images = tuple(path / f"{number}.jpg" for number in frame)
    searchable = asked - RECENT
    positives = tuple(
        np.flatnonzero(
            (np.abs(frame[:, None] - m - np.array((-LAP, 0, LAP))) <= RIGHT).any(axis=1)
            & (frame <= end)
        )
        for m, end in zip(match, searchable, strict=True)
    )
    return ImageSet(
        "rtabmap_samples",
        images,
        tuple(images[number - 1] for number in asked),
        positives,
        f"at most {RIGHT} frames from the verified one, in any earlier lap",
        searchable=searchable,
        query_frames=asked,
    )
