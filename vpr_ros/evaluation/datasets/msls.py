# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Mapillary Street-Level Sequences as published (Warburg et al., CVPR 2020)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.evaluation.datasets.image_set import (
    DatasetError,
    ImageSet,
    Indices,
    numbers,
    read_rows,
)
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.evaluation.datasets.positions import Positions, within

# The validation cities; the test cities' positions are not public.
CITIES = ("cph", "sf")


def is_msls(path: Path) -> bool:
    """Whether `path` is the root of MSLS, or its folder train_val."""
    return any(_root(path).glob("*/database/postprocessed.csv"))


def load_msls(path: Path, options: DatasetOptions) -> ImageSet:
    """The validation cities together, or the comma-separated ones of `options.part`.

    The published protocol: no panoramas, the subtask `all` where its file is there, cities apart,
    and queries without a right answer left out.
    """
    root = _root(path)
    cities = tuple(options.part.split(",")) if options.part else CITIES
    database: list[Path] = []
    queries: list[Path] = []
    positives: list[Indices] = []
    for city in cities:
        if not (root / city).is_dir():
            there = sorted(p.parent.name for p in root.glob("*/database"))
            raise DatasetError(f"{root} has no city '{city}', but {', '.join(there)}.")
        candidates, candidates_m = _side(root / city / "database")
        asked, asked_m = _side(root / city / "query")
        right = within(candidates_m, asked_m, options.radius_m)
        kept = [i for i, found in enumerate(right) if len(found)]
        queries += [asked[i] for i in kept]
        positives += [right[i] + len(database) for i in kept]
        database += candidates
    rule = f"at most {options.radius_m:g} m away"
    name = "msls " + ",".join(cities)
    return ImageSet(name, tuple(database), tuple(queries), tuple(positives), rule)


def _side(folder: Path) -> tuple[list[Path], Positions]:
    """Image files and positions (N, 2) of one city's database or queries."""
    table = folder / "postprocessed.csv"
    rows = read_rows(table, ("key", "easting", "northing"))
    flat = [row["pano"] != "True" for row in read_rows(folder / "raw.csv", ("key", "pano"))]
    subtask = folder / "subtask_index.csv"
    chosen = flat
    if subtask.is_file():
        asked = [row["all"] == "True" for row in read_rows(subtask, ("all",))]
        chosen = [a and b for a, b in zip(flat, asked, strict=False)]
    if len(chosen) != len(rows) or len(flat) != len(rows):
        raise DatasetError(f"{folder}: its CSV files differ in length. Is the download complete?")
    positions_m = numbers(rows, ("easting", "northing"), table)
    images = [folder / "images" / f"{row['key']}.jpg" for row in rows]
    kept = np.flatnonzero(chosen)
    return [images[i] for i in kept], positions_m[kept]


def _root(path: Path) -> Path:
    return path / "train_val" if (path / "train_val").is_dir() else path
