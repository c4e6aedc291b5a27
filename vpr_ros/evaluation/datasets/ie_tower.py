# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ie_tower: walks through a tower whose floors look alike, split by floor."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import numpy as np

from vpr_ros.evaluation.datasets.image_set import DatasetError, ImageSet, read_rows
from vpr_ros.evaluation.datasets.options import DatasetOptions

RIGHT = 2  # frames of one video
PARTS = ("train", "val", "test")


def split_of_floors() -> dict[str, str]:
    """floor -> train, val or test; whole floors, so that no place is both trained and tested."""
    text = files("vpr_ros.evaluation").joinpath("splits/ie_tower.csv").read_text()
    return {row["floor"]: row["part"] for row in csv.DictReader(text.splitlines())}


def load_ie_tower(path: Path, options: DatasetOptions) -> ImageSet:
    """The query frames of one part's floors among the gallery frames of the same floors.

    `options.part` is train, val, test (the default) or all.
    """
    part = options.part or "test"
    if part not in (*PARTS, "all"):
        raise DatasetError(f"ie_tower has no part '{part}'; give {', '.join(PARTS)} or all.")
    split = split_of_floors()
    rows = read_rows(path / "frames.csv", ("image", "floor", "video", "frame", "split"))
    unknown = sorted({row["floor"] for row in rows} - set(split))
    if unknown:
        raise DatasetError(f"The split of ie_tower does not know the floors {', '.join(unknown)}.")
    rows = [row for row in rows if part in ("all", split[row["floor"]])]
    gallery = [row for row in rows if row["split"] == "gallery"]
    asked = [row for row in rows if row["split"] == "query"]
    video = np.array([row["floor"] + "/" + row["video"] for row in gallery])
    frame = np.array([int(row["frame"]) for row in gallery])
    positives = tuple(
        np.flatnonzero(
            (video == row["floor"] + "/" + row["video"])
            & (np.abs(frame - int(row["frame"])) <= RIGHT)
        )
        for row in asked
    )
    return ImageSet(
        f"ie_tower ({part})",
        tuple(path / row["image"] for row in gallery),
        tuple(path / row["image"] for row in asked),
        positives,
        f"at most {RIGHT} frames away in the same video",
    )
