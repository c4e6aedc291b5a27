# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A retrieval data set: the queries, the database they are searched in, and the right answers."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from vpr_ros.core.errors import ConfigError, VprError
from vpr_ros.evaluation.precision_recall import Judged
from vpr_ros.evaluation.search import Indices, Ranked

SUFFIXES = (".jpg", ".jpeg", ".png")


class DatasetError(VprError):
    """A data set has no known layout, or its files contradict each other."""


@dataclasses.dataclass(frozen=True)
class DatasetOptions:
    """What counts as right, and which part of a data set is used, where its files do not say."""

    radius_m: float = 25.0  # between positions; customary in the literature
    # Between aligned folders. VPR-Bench and others allow 1; Patch-NetVLAD's Nordland allows 10.
    frames: int = 1
    database: str = ""  # folder name; empty: the usual ones
    queries: str = ""
    part: str = ""  # of a set that comes in parts, such as MSLS's cities; empty: those for testing

    def __post_init__(self) -> None:
        if not 0 <= self.radius_m < float("inf"):
            raise ConfigError(f"radius is {self.radius_m}; give metres, 0 or more.")
        if self.frames < 0:
            raise ConfigError(f"frames is {self.frames}; give 0 or more.")


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Queries, the database they are searched in, and the right answers."""

    name: str
    database: tuple[Path, ...]  # N
    queries: tuple[Path, ...]  # Q
    positives: tuple[Indices, ...]  # per query the right database images; may be empty
    rule: str  # what counts as right, in words
    # Query q is searched among the first searchable[q] database images; None: among all. For a
    # drive that is searched for its own past.
    searchable: Indices | None = None  # (Q,)
    # Where the images are drives: the frame number of each query, since not every frame need be
    # a query. None: sequence matching makes no sense.
    query_frames: Indices | None = None  # (Q,)
    unreadable: frozenset[Path] = frozenset()  # files that are left out

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

    def without(self, unreadable: Iterable[Path]) -> ImageSet:
        """The same, its images numbered as before, with these files left out of all that counts.

        They are neither queries nor answers; what describes them must find nothing.
        """
        gone = self.unreadable | frozenset(unreadable)
        lost = [number for number, path in enumerate(self.database) if path in gone]
        pairs = zip(self.queries, self.positives, strict=True)
        right = tuple(own[[] if q in gone else ~np.isin(own, lost)] for q, own in pairs)
        return dataclasses.replace(self, positives=right, unreadable=gone) if gone else self

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.database) + len(self.queries)

    @property
    def counted(self) -> int:
        """Number of queries that recalls are shares of."""
        return sum(query not in self.unreadable for query in self.queries)

    @property
    def unanswerable(self) -> int:
        """Number of these without a right answer."""
        left_out = len(self.queries) - self.counted
        return sum(len(right) == 0 for right in self.positives) - left_out

    def judge(self, ranked: Ranked) -> Judged:
        """Hold what was found for all queries against the right answers.

        Recalls are shares of *all* queries, those without a right image included, as in
        VPR-methods-evaluation (gmberton): with unanswerable queries they cannot reach 1. The
        first match of such a query is wrong.
        """
        total = self.counted
        return Judged.of(ranked, self.positives, total - self.unanswerable, total)


def images_in(folder: Path) -> tuple[Path, ...]:
    """All JPEG and PNG files below a folder, by path; numbers count, so 2.jpg precedes 10.jpg.

    Linked folders are read, too; hidden files and folders, such as macOS's ._1.jpg, are not.
    """
    found, seen = list[Path](), set[str]()
    for place, folders, files in os.walk(folder, followlinks=True):
        new = os.path.realpath(place) not in seen  # links may run in a circle
        seen.add(os.path.realpath(place))
        folders[:] = sorted(f for f in folders if new and not f.startswith("."))
        named = (Path(place, f) for f in files if new and not f.startswith("."))
        found += [path for path in named if path.suffix.lower() in SUFFIXES]
    return tuple(sorted(found, key=_in_number_order))


def _in_number_order(path: Path) -> tuple[list[str | int], str]:
    """Text and numbers in turn; of equal numbers (1 and 01) the text decides."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], str(path)


def read_rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file by column name; lines that start with # are comments.

    Raises DatasetError if the file or one of `columns` is missing, or a row is cut short.
    """
    if not path.is_file():
        raise DatasetError(f"{path} does not exist. Is the data set complete?")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(line for line in file if not line.startswith("#"))
            held, rows = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as CSV in UTF-8 ({error}).") from None
    if missing := set(columns) - set(held):
        first = f"Its first line, parted by commas, has: {', '.join(held)}."
        raise DatasetError(f"{path} lacks the columns {', '.join(sorted(missing))}. {first}")
    for number, row in enumerate(rows, start=1):
        if None in row.values():
            raise DatasetError(f"{path}, row {number}: too few values.")
    return rows


def numbers(
    rows: list[dict[str, str]], columns: tuple[str, ...], source: Path
) -> npt.NDArray[np.float64]:
    """Columns of a CSV file as float64 (rows, columns); DatasetError names a bad value."""
    try:
        values = [[float(row[column]) for column in columns] for row in rows]
        if not np.isfinite(values).all():
            raise ValueError("a value is not finite")
    except ValueError as error:
        raise DatasetError(f"{source}: {error} (columns {', '.join(columns)}).") from None
    return np.array(values).reshape(-1, len(columns))


def within(
    database_m: npt.NDArray[np.float64], queries_m: npt.NDArray[np.float64], radius_m: float
) -> tuple[Indices, ...]:
    """For each query (Q, 2) the database positions (N, 2) at most `radius_m` away, rising.

    The limit itself counts, as in VPR-methods-evaluation.
    """
    if not len(database_m) or not len(queries_m):
        return tuple(np.zeros(0, np.int64) for _ in queries_m)
    found = KDTree(database_m).query_ball_point(queries_m, radius_m, return_sorted=True)
    return tuple(np.array(own, np.int64) for own in found)
