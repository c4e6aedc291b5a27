# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A retrieval data set: where the images lie, and which answers are right."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ImageError, VprError
from vpr_ros.core.images import Image

Indices = npt.NDArray[np.int64]

SUFFIXES = (".jpg", ".jpeg", ".png")


class DatasetError(VprError):
    """A data set has no known layout, or its files contradict each other."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Queries, the database they are sought in, and the right answers."""

    name: str
    database: tuple[Path, ...]  # N
    queries: tuple[Path, ...]  # Q
    positives: tuple[Indices, ...]  # per query the right database images; may be empty
    rule: str  # what counts as right, in words
    # Query q is sought among the first searchable[q] database images; None: among all. For one
    # drive that is searched for its own past.
    searchable: Indices | None = None  # (Q,)
    # Where both are drives, image after image: the frame number of each query, since not every
    # frame need be one. None: sequences mean nothing here.
    query_frames: Indices | None = None  # (Q,)

    def __post_init__(self) -> None:
        if not self.database or not self.queries:
            raise DatasetError(
                f"{self.name} has {len(self.database)} database images and {len(self.queries)} "
                "queries; both are needed."
            )
        if len(self.positives) != len(self.queries):
            raise DatasetError(
                f"{self.name} has {len(self.queries)} queries, but answers for "
                f"{len(self.positives)}."
            )

    @property
    def unanswerable(self) -> int:
        """How many queries have no right answer."""
        return sum(len(right) == 0 for right in self.positives)


def read_image(path: Path) -> Image:
    """A BGR image (H, W, 3); ImageError if there is none."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f"{path} is missing or no image. Is the data set complete?")
    return np.asarray(image, dtype=np.uint8)


class Files(Sequence[Image]):
    """Image files as images; each is read when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """In this order."""
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> Files: ...

    def __getitem__(self, index: int | slice) -> Image | Files:
        if isinstance(index, slice):
            return Files(self._paths[index])
        return read_image(self._paths[index])


def images_in(folder: Path) -> tuple[Path, ...]:
    """All JPEG and PNG files below a folder, sorted by path."""
    return tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES))


def read_rows(
    path: Path, columns: Iterable[str], header: tuple[str, ...] = ()
) -> list[dict[str, str]]:
    """The rows of a CSV file by column name; `header` names them if the file does not.

    Raises DatasetError if the file or one of `columns` is missing, or a row is cut short.
    """
    if not path.is_file():
        raise DatasetError(f"{path} does not exist. Is the data set complete?")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, fieldnames=header or None)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise DatasetError(f"{path} lacks the columns {', '.join(sorted(missing))}.")
        rows = list(reader)
    for number, row in enumerate(rows, start=1 if header else 2):
        if None in row.values():
            raise DatasetError(f"{path}, line {number}: too few values.")
    return rows


def numbers(rows: list[dict[str, str]], columns: tuple[str, ...], source: Path) -> npt.NDArray:
    """Columns of a CSV file as float64 (rows, columns); DatasetError names what is no number."""
    try:
        return np.array([[float(row[c]) for c in columns] for row in rows]).reshape(
            -1, len(columns)
        )
    except ValueError as error:
        raise DatasetError(f"{source}: {error} (columns {', '.join(columns)}).") from None
