# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The sets that several benchmarks measure recall on: a `path` below the data, DatasetOptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vpr_ros.evaluation.datasets.image_set import ImageSet
from vpr_ros.evaluation.datasets.layouts import open_dataset
from vpr_ros.evaluation.datasets.options import DatasetOptions

SETS: tuple[dict[str, Any], ...] = (
    {"path": "ie_tower"},
    {"path": "corridor", "frames": 2},
    {"path": "campus_robot"},
    {"path": "rtabmap_samples"},
)
HARD = {"path": "home_streetview"}  # a renovated house: little is found by any method


def open_sets(data: Path, entries: Sequence[dict[str, Any]]) -> list[ImageSet]:
    """The sets below `data`; DatasetError if one is not there."""
    return [
        open_dataset(
            data / entry["path"], DatasetOptions(**{k: v for k, v in entry.items() if k != "path"})
        )
        for entry in entries
    ]
