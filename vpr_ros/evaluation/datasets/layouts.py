# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which layout a folder has: the table of all that are known."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

from vpr_ros.evaluation.datasets.campus_robot import load_campus_robot
from vpr_ros.evaluation.datasets.folders import find_folders, load_folders
from vpr_ros.evaluation.datasets.home_streetview import load_home_streetview
from vpr_ros.evaluation.datasets.ie_tower import load_ie_tower
from vpr_ros.evaluation.datasets.image_set import DatasetError, ImageSet
from vpr_ros.evaluation.datasets.msls import is_msls, load_msls
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.evaluation.datasets.pairs import FILE, load_pairs
from vpr_ros.evaluation.datasets.rtabmap_samples import load_rtabmap_samples


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way a data set can lie on the disk."""

    words: str
    fits: Callable[[Path, DatasetOptions], bool]
    load: Callable[[Path, DatasetOptions], ImageSet]


def _has_pairs(path: Path, options: DatasetOptions) -> bool:
    return (path / FILE).is_file()


def _load_pairs_below(path: Path, options: DatasetOptions) -> ImageSet:
    return load_pairs(path / FILE, options)


def _has_folders(path: Path, options: DatasetOptions) -> bool:
    return find_folders(path, options) is not None


def _is_rtabmap(path: Path, options: DatasetOptions) -> bool:
    return (path / "revisits.csv").is_file()


def _is_campus(path: Path, options: DatasetOptions) -> bool:
    return (path / "data.csv").is_file() and (path / "image_0.png").is_file()


def _is_tower(path: Path, options: DatasetOptions) -> bool:
    return {"floor", "video"} <= _columns(path / "frames.csv")


def _is_home(path: Path, options: DatasetOptions) -> bool:
    return {"place", "time_stage"} <= _columns(path / "frames.csv")


def _is_msls(path: Path, options: DatasetOptions) -> bool:
    return is_msls(path)


def _columns(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    with path.open(newline="", encoding="utf-8-sig") as file:
        return set(next(csv.reader(file), ()))


LAYOUTS = (
    Layout("a folder with pairs.csv (query, match)", _has_pairs, _load_pairs_below),
    Layout(
        "folders database/ and queries/, file names @utm_east@utm_north@... or aligned",
        _has_folders,
        load_folders,
    ),
    Layout("MSLS (train_val/<city>/database, query)", _is_msls, load_msls),
    Layout("rtabmap_samples", _is_rtabmap, load_rtabmap_samples),
    Layout("campus_robot", _is_campus, load_campus_robot),
    Layout("ie_tower", _is_tower, load_ie_tower),
    Layout("home_streetview", _is_home, load_home_streetview),
)


def open_dataset(path: Path, options: DatasetOptions | None = None) -> ImageSet:
    """The data set of a folder, or of a CSV file of pairs.

    Raises DatasetError naming the known layouts if none fits.
    """
    options = options or DatasetOptions()
    if path.is_file() and path.suffix.lower() == ".csv":
        return load_pairs(path, options)
    if not path.exists():
        raise DatasetError(f"{path} does not exist. Give the folder of a data set.")
    for layout in LAYOUTS:
        if path.is_dir() and layout.fits(path, options):
            return layout.load(path, options)
    known = "; ".join(layout.words for layout in LAYOUTS)
    raise DatasetError(f"{path} has no layout known here. Known are: {known}.")
