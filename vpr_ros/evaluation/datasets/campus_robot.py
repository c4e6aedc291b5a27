# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""campus_robot: one drive with poses that passes no place twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.evaluation.datasets.image_set import ImageSet, numbers, read_rows
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.evaluation.datasets.positions import within

HEADER = ("image", "x", "y", "yaw")  # m, m, rad
RADIUS_M = 5.0  # the frames are 3 m apart
HEADING_DEG = 45.0


def load_campus_robot(path: Path, options: DatasetOptions) -> ImageSet:
    """Every second frame sought among the others: same day, same direction, some metres away."""
    table = path / "data.csv"
    rows = read_rows(table, HEADER, HEADER)
    pose = numbers(rows, HEADER[1:], table)
    images = tuple(path / row["image"] for row in rows)
    database, queries = pose[::2], pose[1::2]
    near = within(database[:, :2], queries[:, :2], RADIUS_M)
    positives = tuple(
        found[np.cos(database[found, 2] - yaw) >= np.cos(np.radians(HEADING_DEG))]
        for found, yaw in zip(near, queries[:, 2], strict=True)
    )
    return ImageSet(
        "campus_robot",
        images[::2],
        images[1::2],
        positives,
        f"at most {RADIUS_M:g} m and {HEADING_DEG:g} degrees away; every second frame is a query",
        query_frames=np.arange(len(queries)),
    )
