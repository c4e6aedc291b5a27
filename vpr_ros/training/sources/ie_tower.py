# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ie_tower: walks on the training floors of a tower whose floors look alike."""

from __future__ import annotations

from pathlib import Path

from vpr_ros.evaluation.datasets.ie_tower import split_of_floors
from vpr_ros.evaluation.datasets.image_set import DatasetError, numbers, read_rows
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.sources.sequences import SequenceConfig, Shot, places_along


def load_ie_tower(path: Path, config: SequenceConfig) -> PlaceSet:
    """The places of `path` on the floors that the split gives to training, and on no other.

    A floor is a site: its videos may cross. The same area on other floors looks alike.
    """
    if config.unit != "frames":
        raise DatasetError(f"ie_tower has no poses; its unit is frames, not '{config.unit}'.")
    table = path / "frames.csv"
    split = split_of_floors()
    rows = read_rows(table, ("image", "floor", "video", "frame", "area"))
    unknown = sorted({row["floor"] for row in rows} - set(split))
    if unknown:
        raise DatasetError(f"The split of ie_tower does not know the floors {', '.join(unknown)}.")
    rows = [row for row in rows if split[row["floor"]] == "train"]
    frames = numbers(rows, ("frame",), table)[:, 0]
    shots = [
        Shot(str(path / row["image"]), row["floor"], row["video"], float(frame), group=row["area"])
        for row, frame in zip(rows, frames, strict=True)
    ]
    return places_along("ie_tower", shots, config)
