# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""home_streetview: the rooms of one house at several stages of its renovation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.evaluation.datasets.image_set import ImageSet, numbers, read_rows
from vpr_ros.evaluation.datasets.options import DatasetOptions

REBUILT = ("study", "bedroom")  # walls moved: headings cannot be compared over time
TURN_DEG = 30.0  # views are 30 degrees apart and aligned over time to about 15
FEATURES = 50  # FAST corners; with fewer, a view is a blank wall
COLUMNS = ("image", "place", "time_stage", "yaw_aligned_deg", "offset_known", "n_fast")


def load_home_streetview(path: Path, options: DatasetOptions) -> ImageSet:
    """The first stage of every place as the database, the later stages as queries.

    Left out as queries: blank views, rooms that were rebuilt, and panoramas whose heading is not
    known.
    """
    table = path / "frames.csv"
    rows = read_rows(table, COLUMNS)
    stage, yaw_deg, corners = numbers(rows, ("time_stage", "yaw_aligned_deg", "n_fast"), table).T
    place = np.array([row["place"] for row in rows])
    known = np.array([row["offset_known"] == "yes" for row in rows])
    first = np.array([stage[place == name].min() for name in place])
    database = np.flatnonzero(stage == first)
    sought = (stage > first) & known & (corners >= FEATURES) & ~np.isin(place, REBUILT)
    queries = np.flatnonzero(sought)
    turned_deg = np.abs((yaw_deg[queries, None] - yaw_deg[database] + 180) % 360 - 180)
    right = (place[queries, None] == place[database]) & (turned_deg <= TURN_DEG)
    images = [path / row["image"] for row in rows]
    return ImageSet(
        "home_streetview",
        tuple(images[i] for i in database),
        tuple(images[i] for i in queries),
        tuple(np.flatnonzero(row) for row in right),
        f"same place before the renovation, heading within {TURN_DEG:g} degrees",
    )
