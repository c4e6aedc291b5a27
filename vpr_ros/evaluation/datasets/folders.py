# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two folders of images: by coordinates in the file names, or by position in the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.evaluation.datasets.image_set import DatasetError, ImageSet, images_in
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.evaluation.datasets.positions import Positions, within

DATABASE_NAMES = ("database", "ref", "reference", "gallery")
QUERY_NAMES = ("queries", "query")
ROOTS = ("", "images/test", "test", "images/val", "val")  # of VPR-datasets-downloader


def find_folders(path: Path, options: DatasetOptions) -> tuple[Path, Path] | None:
    """The database's and the queries' folder below `path`; None if it has no such layout."""
    for root in ROOTS:
        database = _first(path / root, (options.database,) if options.database else DATABASE_NAMES)
        queries = _first(path / root, (options.queries,) if options.queries else QUERY_NAMES)
        if database and queries:
            return database, queries
    return None


def load_folders(path: Path, options: DatasetOptions) -> ImageSet:
    """The data set of `path`; DatasetError if the folders are not there or have no truth.

    File names `@utm_east@utm_north@...` (gmberton/VPR-datasets-downloader) give positions in
    metres. Without them image i of one folder shows the place of image i of the other (Nordland,
    Sunderhauf et al. 2013), and both must hold equally many.
    """
    folders = find_folders(path, options)
    if folders is None:
        raise DatasetError(f"{path} has no folders for database and queries. Name them.")
    database, queries = (images_in(folder) for folder in folders)
    for folder, images in zip(folders, (database, queries), strict=True):
        if not images:
            raise DatasetError(f"{folder} holds no JPEG or PNG images.")
    if "@" in database[0].name and "@" in queries[0].name:
        positives = within(positions(database), positions(queries), options.radius_m)
        rule = f"at most {options.radius_m:g} m away"
        return ImageSet(path.resolve().name, database, queries, positives, rule)
    if len(database) != len(queries):
        raise DatasetError(
            f"{path}: {folders[0].name}/ holds {len(database)} images, {folders[1].name}/ "
            f"{len(queries)}, and their names carry no coordinates (@utm_east@utm_north@...). "
            "Aligned folders hold equally many; otherwise give the right answers in pairs.csv "
            "with the columns query and match."
        )
    last = len(database) - 1
    aligned = tuple(
        np.arange(max(0, i - options.frames), min(last, i + options.frames) + 1)
        for i in range(len(queries))
    )
    rule = f"at most {options.frames} frame(s) away in the other drive"
    return ImageSet(
        path.resolve().name, database, queries, aligned, rule, query_frames=np.arange(len(queries))
    )


def positions(images: tuple[Path, ...]) -> Positions:
    """East and north (N, 2), metres, from the file names."""
    found = np.empty((len(images), 2))
    for row, image in enumerate(images):
        try:
            _, east, north = image.name.split("@")[:3]
            found[row] = float(east), float(north)
        except ValueError:
            raise DatasetError(
                f"{image} is not named @utm_east@utm_north@...; all images of the set must be."
            ) from None
    return found


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)
