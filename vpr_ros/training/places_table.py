# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places from a CSV file: views grouped by hand, or the frames of walks and drives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.image_set import DatasetError, numbers, read_rows
from vpr_ros.training.places import PlaceSet, group_numbers, overlaps_where

FILE = "places.csv"
POSE = ("x", "y", "yaw_deg")
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class PlacesTableConfig(Config):
    """Distances that make two frames one place, or two places different.

    They are frame numbers where the table has `frame`, and metres where it has `x` and `y`.
    """

    reach: float = param(
        2.0, "Largest distance of a view from the frame at the centre.", minimum=0.0
    )
    apart: float = param(
        6.0, "Places of one site no farther apart than this never meet in a batch.", minimum=0.0
    )
    turn_deg: float = param(
        20.0, "Largest turn of a view from the frame at the centre (poses).",
        unit="degrees", minimum=0.0, maximum=180.0,
    )  # fmt: skip
    apart_turn_deg: float = param(
        60.0, "Places turned by more than this are different, however near (poses).",
        unit="degrees", minimum=0.0, maximum=180.0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        # Any nearer, and two places could share a view and yet be told apart.
        for small, large in (("reach", "apart"), ("turn_deg", "apart_turn_deg")):
            least, value = getattr(self, small), getattr(self, large)
            if value < 2 * least:
                raise ConfigError(
                    f"Parameter '{large}' is {value:g}; give at least twice '{small}' ({least:g})."
                )


@dataclasses.dataclass(frozen=True)
class _Frame:
    """One row."""

    image: str
    place: str | None
    site: str
    line: str  # positions of one line can be compared: all of a site, or of a sequence
    group: str
    x: float  # metres, or the number of the frame
    y: float = 0.0
    yaw_deg: float = 0.0


def load_places_table(path: Path, config: PlacesTableConfig) -> PlaceSet:
    """The places of a CSV file, or of every `places.csv` below a folder.

    Column `image` is relative to its table. Where there is a column `place`, the images of one
    place are its views; an image may belong to several places. Otherwise every frame is the centre
    of a place whose views are the frames within reach, by the columns `sequence` and `frame`, or
    `x`, `y` [m] and `yaw_deg`.

    Places of one `site` may show the same and never meet in a batch, unless frame numbers of one
    sequence, or poses, are far enough apart. Without that column every place, or every sequence,
    is a site of its own. Places of one `group` look alike although they differ, such as the floors
    of a tower. DatasetError if a column or an image is missing.
    """
    tables = [path]
    if path.is_dir():  # a hidden folder is one that its writer has not finished
        tables = sorted(t for t in path.rglob(FILE) if not t.parent.name.startswith("."))
    frames = [frame for table in tables for frame in _read(table)]
    if not frames:
        raise DatasetError(
            f"{path} has no places; give a CSV file, or a folder with {FILE} in it."
        )
    known = _Positions(frames, config)
    if frames[0].place is None:
        within = [known.near(i, config.reach, config.turn_deg) for i in range(len(frames))]
        places = [[i, *others] for i, others in enumerate(within) if others]
    else:
        by_name: dict[str | None, list[int]] = {}
        for i, frame in enumerate(frames):
            by_name.setdefault(frame.place, []).append(i)
        places = list(by_name.values())
    first = [views[0] for views in places]
    return PlaceSet(
        path.stem,
        [[frames[i].image for i in views] for views in places],
        overlaps_where(len(first), lambda place: known.unclear(first[place])[first]),
        group_numbers([frames[i].group for i in first]),
    )


def _read(table: Path) -> list[_Frame]:
    """The rows of one table; all have the same columns."""
    rows = read_rows(table, ("image",))
    columns = set(rows[0]) if rows else set()
    posed, placed = {"x", "y"} <= columns, "place" in columns
    position = POSE if posed else ("frame",) if "frame" in columns or not placed else ()
    rows = read_rows(table, (*position, *(() if placed or posed else ("sequence",))))
    values = numbers(rows, position, table) if position else np.zeros((len(rows), 1))
    frames = []
    for number, (row, where) in enumerate(zip(rows, values.tolist(), strict=True)):
        image = table.parent / row["image"]
        if not image.is_file():
            raise DatasetError(f"{image} does not exist, but {table} lists it.")
        place = f"{table} {row['place']}" if placed else None
        site = row.get("site") or place or row.get("sequence", str(table))
        line = f"{site} {row.get('sequence', '')}"
        if posed:
            line = site
        elif not position:  # comparable with no other
            line = f"{table} {number}"
        frames.append(_Frame(str(image), place, site, line, row.get("group", ""), *where))
    return frames


class _Positions:
    """Sites, lines and positions of all frames as arrays."""

    def __init__(self, frames: Sequence[_Frame], config: PlacesTableConfig) -> None:
        self._config = config
        self._xy = np.array([(f.x, f.y) for f in frames])
        self._yaw_deg = np.array([f.yaw_deg for f in frames])
        self._site = group_numbers([f"/{f.site}" for f in frames])
        self._line = group_numbers([f"/{f.line}" for f in frames])

    def near(self, i: int, distance: float, turn_deg: float) -> list[int]:
        """The other frames known to be this near frame i."""
        return [int(j) for j in np.flatnonzero(self._near(i, distance, turn_deg)) if j != i]

    def unclear(self, i: int) -> Mask:
        """(N,) the frames whose places may show what the place of frame i shows."""
        other_line = self._line != self._line[i]
        near = self._near(i, self._config.apart, self._config.apart_turn_deg)
        found: Mask = (self._site == self._site[i]) & (other_line | near)
        return found

    def _near(self, i: int, distance: float, turn_deg: float) -> Mask:
        near = np.linalg.norm(self._xy - self._xy[i], axis=1) <= distance
        turn = np.abs((self._yaw_deg - self._yaw_deg[i] + 180.0) % 360.0 - 180.0)
        found: Mask = near & (turn <= turn_deg) & (self._line == self._line[i])
        return found
