# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Describe the image sets of ../shared/data in the public layouts; images are not copied.

python -m tools.shared_sets ../sets
vpr benchmark ../sets/campus_robot

For `vpr benchmark`, OUTPUT/<set>/pairs.csv:
  rtabmap_samples   at most 2 frames from a verified revisit, in any earlier lap
  campus_robot      every second frame is a query; at most 5 m and 45 degrees away
  ie_tower          test floors; at most 2 frames away in the same video
  ie_tower_val      validation floors, the same
  ie_tower_spots    test floors; the same area of the same floor, in any video
  home_streetview   the same room before a renovation, heading within 30 degrees
  corridor          links to ref/ and query/: aligned folders, use --frames 2
For `vpr train`, OUTPUT/places/<set>.csv (image, place or sequence and frame, site, group):
  ie_tower          training floors
  polyhaven_hdri    two neighbouring headings of a panorama in all exposures are a place
  home_streetview   one room and heading at all stages of the renovation is a place
  facades           a link to the folder of photographs, OUTPUT/facades
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import VprError
from vpr_ros.evaluation.image_set import Indices, numbers, read_rows, within

Rows = list[dict[str, str]]

# Whole floors, so that no place of the tower is both trained on and tested.
TEST_FLOORS = {f"floor{n}" for n in (5, 8, 11, 14, 18, 23)} | {"basement3"}
VALIDATION_FLOORS = {"floor7", "floor13"}
REBUILT = {"study", "bedroom"}  # walls were moved: headings cannot be compared over time
CORNERS = 50  # FAST corners; a view with fewer is a blank wall
LAP = 40  # frames of rtabmap_samples


def write_pairs(
    folder: Path,
    rule: str,
    database: Sequence[Path],
    queries: Sequence[Path],
    positives: Iterable[Indices],
    columns: dict[str, Iterable[int]] | None = None,
) -> Path:
    """Write `folder`/pairs.csv: all database images in order, then the answers.

    `positives`: per query the right database images, an empty match where there is none;
    `columns`: further numbers per query, such as frame and searchable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = columns or {}
    with (folder / "pairs.csv").open("w", newline="") as file:
        file.write(f"# right: {rule}\n")
        table = csv.writer(file)
        table.writerow(["query", "match", *columns])
        table.writerows(["", image.resolve(), *[""] * len(columns)] for image in database)
        for query, right, *extra in zip(queries, positives, *columns.values(), strict=True):
            matches = [database[i].resolve() for i in right] or [""]
            table.writerows([query.resolve(), match, *extra] for match in matches)
    return folder / "pairs.csv"


def rtabmap_samples(data: Path, output: Path) -> Path:
    """Two laps of an office corridor: the verified revisits among the frames before them."""
    table = data / "rtabmap_samples" / "revisits.csv"
    rows = [row for row in read_rows(table, ("query", "match")) if row["match"]]
    asked, match = numbers(rows, ("query", "match"), table).astype(int).T
    images = [table.parent / f"{number}.jpg" for number in range(1, 85)]
    frame = np.arange(1, len(images) + 1)
    searchable = asked - 10  # the last frames are too recent
    copies = match[:, np.newaxis] + np.array((-LAP, 0, LAP))
    near = (np.abs(frame[:, np.newaxis] - copies[:, np.newaxis]) <= 2).any(axis=2)
    return write_pairs(
        output / "rtabmap_samples",
        "at most 2 frames from the verified one, in any earlier lap",
        images,
        [images[number - 1] for number in asked],
        _where(near & (frame <= searchable[:, np.newaxis])),
        {"frame": asked, "searchable": searchable},
    )


def campus_robot(data: Path, output: Path) -> Path:
    """One drive that passes no place twice: every second frame among the others."""
    table = data / "campus_robot" / "data.csv"
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    images = [table.parent / row[0] for row in rows]
    pose = np.array([[float(value) for value in row[1:]] for row in rows])  # m, m, rad
    shown, asked = pose[::2], pose[1::2]
    near = within(shown[:, :2], asked[:, :2], 5.0)
    facing = np.cos(asked[:, np.newaxis, 2] - shown[:, 2]) >= np.cos(np.radians(45.0))
    return write_pairs(
        output / "campus_robot",
        "at most 5 m and 45 degrees away; every second frame is a query",
        images[::2],
        images[1::2],
        [found[facing[query, found]] for query, found in enumerate(near)],
        {"frame": range(len(asked))},
    )


def ie_tower(data: Path, output: Path, name: str = "ie_tower") -> Path:
    """Walks through a tower whose floors look alike; `name` is one of TOWERS."""
    floors, rule, is_right = TOWERS[name]
    table = data / "ie_tower" / "frames.csv"
    rows = read_rows(table, ("image", "floor", "video", "frame", "area", "split"))
    rows = [row for row in rows if row["floor"] in floors]
    shown = [row for row in rows if row["split"] == "gallery"]
    asked = [row for row in rows if row["split"] == "query"]
    database, queries = ([table.parent / row["image"] for row in side] for side in (shown, asked))
    positives = _where(is_right(asked, shown))
    return write_pairs(output / name, rule, database, queries, positives)


def _same_video(asked: Rows, shown: Rows) -> npt.NDArray[np.bool_]:
    frames = [np.array([int(row["frame"]) for row in rows]) for rows in (asked, shown)]
    near: npt.NDArray[np.bool_] = np.abs(frames[0][:, np.newaxis] - frames[1]) <= 2
    return near & _equal(asked, shown, "floor") & _equal(asked, shown, "video")


def _same_spot(asked: Rows, shown: Rows) -> npt.NDArray[np.bool_]:
    return _equal(asked, shown, "floor") & _equal(asked, shown, "area")


NEAR_IN_VIDEO = "at most 2 frames away in the same video"
TOWERS: dict[str, tuple[set[str], str, Callable[[Rows, Rows], npt.NDArray[np.bool_]]]] = {
    "ie_tower": (TEST_FLOORS, NEAR_IN_VIDEO, _same_video),
    "ie_tower_val": (VALIDATION_FLOORS, NEAR_IN_VIDEO, _same_video),
    "ie_tower_spots": (TEST_FLOORS, "same area of the same floor, in any video", _same_spot),
}


def home_streetview(data: Path, output: Path) -> Path:
    """Rooms of one house: the first stage of every room as the map, later stages as queries."""
    rows = read_rows(data / "home_streetview" / "frames.csv", ("image", "place", "n_fast"))
    stage = np.array([int(row["time_stage"]) for row in rows])
    first = {room: min(s for s, r in zip(stage, rows, strict=True) if r["place"] == room)
             for room in {row["place"] for row in rows}}  # fmt: skip
    at_first = stage == np.array([first[row["place"]] for row in rows])
    shown = [row for row, chosen in zip(rows, at_first, strict=True) if chosen]
    asked = [row for row, old in zip(rows, at_first, strict=True) if not old and _comparable(row)]
    yaw = [np.array([float(row["yaw_aligned_deg"]) for row in side]) for side in (asked, shown)]
    turned_deg = np.abs((yaw[0][:, np.newaxis] - yaw[1] + 180) % 360 - 180)
    folder = data / "home_streetview"
    return write_pairs(
        output / "home_streetview",
        "same place before the renovation, heading within 30 degrees",
        [folder / row["image"] for row in shown],
        [folder / row["image"] for row in asked],
        _where((turned_deg <= 30.0) & _equal(asked, shown, "place")),
    )


def _comparable(row: dict[str, str]) -> bool:
    """Is the heading of a view comparable over time, and does it show anything?"""
    known = row["offset_known"] == "yes" and row["place"] not in REBUILT
    return known and int(row["n_fast"]) >= CORNERS


def corridor(data: Path, output: Path) -> Path:
    """One corridor walked twice."""
    for side in ("ref", "query"):
        _link(data / "corridor" / side, output / "corridor" / side)
    return output / "corridor"


def ie_tower_places(data: Path, output: Path) -> Path:
    """Sequences on the training floors; the same area of other floors looks alike."""
    table = data / "ie_tower" / "frames.csv"
    rows = read_rows(table, ("image", "floor", "video", "frame", "area"))
    return _write_places(
        output / "places" / "ie_tower.csv",
        ("image", "sequence", "frame", "site", "group"),
        (
            (table.parent / row["image"], row["video"], row["frame"], row["floor"], row["area"])
            for row in rows
            if row["floor"] not in TEST_FLOORS | VALIDATION_FLOORS
        ),
    )


def polyhaven_places(data: Path, output: Path) -> Path:
    """Panoramas: all places of one overlap, since neighbours share a heading."""
    folder = data / "polyhaven_hdri"
    rows = read_rows(folder / "frames.csv", ("image", "place", "yaw_deg", "n_fast"))
    rows = [row for row in rows if int(row["n_fast"]) >= CORNERS]

    def lines() -> Iterator[tuple[object, ...]]:
        for site in sorted({row["place"] for row in rows}):
            views = [row for row in rows if row["place"] == site]
            for heading in sorted({float(row["yaw_deg"]) for row in views}):
                # To one side only, so that all pairs of a place are close.
                found = [v for v in views if (float(v["yaw_deg"]) - heading) % 360.0 <= 30.0]
                if len(found) > 1:
                    yield from ((folder / v["image"], f"{site}_{heading:g}", site) for v in found)

    return _write_places(output / "places" / "polyhaven_hdri.csv", PLACE_COLUMNS, lines())


def home_places(data: Path, output: Path) -> Path:
    """Rooms of one house at all stages of its renovation: all places of one room overlap."""
    folder = data / "home_streetview"
    rows = [
        row for row in read_rows(folder / "frames.csv", ("image", "place")) if _comparable(row)
    ]
    names = [f"{row['place']}_{row['yaw_aligned_deg']}" for row in rows]
    return _write_places(
        output / "places" / "home_streetview.csv",
        PLACE_COLUMNS,
        (
            (folder / row["image"], name, row["place"])
            for row, name in zip(rows, names, strict=True)
            if names.count(name) > 1
        ),
    )


def facades(data: Path, output: Path) -> Path:
    """Photographs, one view each."""
    return _link(data / "facades", output / "facades")


PLACE_COLUMNS = ("image", "place", "site")


def _write_places(path: Path, columns: Sequence[str], rows: Iterable[tuple[object, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows((Path(str(image)).resolve(), *rest) for image, *rest in rows)
    return path


def _link(source: Path, link: Path) -> Path:
    if not source.is_dir():
        raise VprError(f"{source} does not exist.")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(source.resolve())
    return link


def _equal(asked: Rows, shown: Rows, column: str) -> npt.NDArray[np.bool_]:
    """(Q, N) do query and database image have the same value?"""
    sides = [np.array([row[column] for row in rows]) for rows in (asked, shown)]
    same: npt.NDArray[np.bool_] = sides[0][:, np.newaxis] == sides[1]
    return same


def _where(right: npt.NDArray[np.bool_]) -> list[Indices]:
    return [np.flatnonzero(row) for row in right]


SETS: dict[str, Callable[[Path, Path], Path]] = {
    "rtabmap_samples": rtabmap_samples,
    "campus_robot": campus_robot,
    **{name: partial(ie_tower, name=name) for name in TOWERS},
    "home_streetview": home_streetview,
    "corridor": corridor,
    "places of ie_tower": ie_tower_places,
    "places of polyhaven_hdri": polyhaven_places,
    "places of home_streetview": home_places,
    "facades": facades,
}


def main() -> int:
    """Write everything that `--data` holds; 1 if it holds nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.shared_sets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, help="folder to write into")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"),
                        help="folder of the image sets (default: %(default)s)")  # fmt: skip
    arguments = parser.parse_args()
    written = 0
    for name, describe in SETS.items():
        try:
            print(describe(arguments.data, arguments.output))
            written += 1
        except (VprError, OSError) as error:  # a copy may hold some of the sets only
            print(f"{name}: left out: {error}", file=sys.stderr)
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
