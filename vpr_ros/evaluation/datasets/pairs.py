# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plain pairs: a CSV file that says which image shows the place of which."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.evaluation.datasets.image_set import DatasetError, ImageSet, images_in, read_rows
from vpr_ros.evaluation.datasets.options import DatasetOptions

FILE = "pairs.csv"


def load_pairs(path: Path, options: DatasetOptions) -> ImageSet:
    """The set of a file with the columns `query` and `match`, image paths beside the file.

    A query with several right answers has several rows. A row with an empty match is a query
    without a right answer; one with an empty query is a database image that answers nothing. If a
    folder named by `options.database` (default: database) lies beside the file, all images in it
    are searched.
    """
    rows = read_rows(path, ("query", "match"))
    folder = path.parent / (options.database or "database")
    database = dict.fromkeys(path.parent / row["match"] for row in rows if row["match"])
    database.update(dict.fromkeys(images_in(folder) if folder.is_dir() else ()))
    place = {image: index for index, image in enumerate(database)}
    answers: dict[Path, set[int]] = {}
    for number, row in enumerate(rows, start=2):
        if not row["query"] and not row["match"]:
            raise DatasetError(f"{path}, line {number} names neither a query nor a match.")
        if row["query"]:
            found = answers.setdefault(path.parent / row["query"], set())
            found.update({place[path.parent / row["match"]]} if row["match"] else ())
    return ImageSet(
        path.stem if path.name != FILE else path.resolve().parent.name,
        tuple(database),
        tuple(answers),
        tuple(np.array(sorted(right), dtype=np.int64) for right in answers.values()),
        f"listed in {path.name}",
    )
