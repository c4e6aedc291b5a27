# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tables beside the images of a source, cut down to the images that are kept."""

from __future__ import annotations

import csv
from collections.abc import Callable, Container
from pathlib import Path

from vpr_ros.training.sources.gsv_cities import image_names
from vpr_ros.training.sources.vizdoom import TABLE

Row = dict[str, str]
Images = Callable[[Path, Row], list[Path]]  # a table and its row to the files it may mean

# Layouts whose tables or files say which views are one place: places can be left out. In the
# others a place is what lies around a frame, so that fewer frames would make other places.
EXPLICIT = ("gsv_cities", "vizdoom", "photographs")


def _beside(table: Path, row: Row) -> list[Path]:
    return [table.parent / row["image"]]


def _of_city(table: Path, row: Row) -> list[Path]:
    folder = table.parent.parent / "Images" / table.stem
    return [folder / name for name in image_names(table.stem, row)]


# Layout -> where its tables lie in the source's path, and what their rows name; None: all rows
# stay, since headings that are blank, and so not read, count when neighbours are sought.
TABLES: dict[str, tuple[Callable[[Path], list[Path]], Images | None]] = {
    "gsv_cities": (lambda path: sorted((path / "Dataframes").glob("*.csv")), _of_city),
    "ie_tower": (lambda path: [path / "frames.csv"], _beside),
    "sequences": (lambda path: [path], _beside),
    "polyhaven_hdri": (lambda path: [path / "frames.csv"], None),
    "home_streetview": (lambda path: [path / "frames.csv"], None),
    "photographs": (lambda path: [], _beside),
    "vizdoom": (lambda path: sorted(path.glob(f"[!.]*/{TABLE}")), _beside),
}


def write_tables(layout: str, path: Path, kept: Container[Path], target: Path) -> list[Path]:
    """Write the tables of a source at `path` to the same places below `target`.

    Only the rows of images in `kept` stay (but see TABLES); an empty table is left out. Returns
    the tables that were read.
    """
    find, images = TABLES[layout]
    tables = find(path)
    for table in tables:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            rows = [
                row
                for row in reader
                if images is None or any(f in kept for f in images(table, row))
            ]
        if rows:
            written = target / table.relative_to(path) if table != path else target
            written.parent.mkdir(parents=True, exist_ok=True)
            with written.open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
    return tables
