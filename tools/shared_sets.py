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
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import VprError

Rows = npt.NDArray[Any]  # (R,) with the columns of a CSV file as fields

# Whole floors, so that no place of the tower is both trained on and tested.
TEST_FLOORS = [f"floor{n}" for n in (5, 8, 11, 14, 18, 23)] + ["basement3"]
VALIDATION_FLOORS = ["floor7", "floor13"]
REBUILT = ["study", "bedroom"]  # walls were moved: headings cannot be compared over time
CORNERS = 50  # FAST corners; a view with fewer is a blank wall
LAP = 40  # frames of rtabmap_samples


def read_table(path: Path, names: bool | Sequence[str] = True) -> Rows:
    """The rows of a CSV file; a number that is missing is -1."""
    return np.atleast_1d(
        np.genfromtxt(path, delimiter=",", names=names, dtype=None, encoding="utf-8")
    )


def images(folder: Path, rows: Rows) -> list[Path]:
    """The files of the column `image`."""
    return [folder / name for name in rows["image"]]


def equal(asked: Rows, shown: Rows, column: str) -> npt.NDArray[np.bool_]:
    """(Q, N) do query and database image have the same value?"""
    return np.asarray(asked[column][:, np.newaxis] == shown[column])


def write_pairs(
    folder: Path,
    rule: str,
    database: Sequence[Path],
    queries: Sequence[Path],
    right: npt.NDArray[np.bool_],
    **columns: Iterable[int],
) -> Path:
    """Write `folder`/pairs.csv: all database images in order, then the answers.

    `right` (Q, N): the right database images of each query, an empty match where there is none;
    `columns`: further numbers per query, such as frame and searchable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "pairs.csv").open("w", newline="") as file:
        file.write(f"# right: {rule}\n")
        table = csv.writer(file)
        table.writerow(["query", "match", *columns])
        table.writerows(["", image.resolve(), *[""] * len(columns)] for image in database)
        for query, hits, *extra in zip(queries, right, *columns.values(), strict=True):
            matches = [database[i].resolve() for i in np.flatnonzero(hits)] or [""]
            table.writerows([query.resolve(), match, *extra] for match in matches)
    return folder / "pairs.csv"


def rtabmap_samples(data: Path, output: Path) -> Path:
    """Two laps of an office corridor: the verified revisits among the frames before them."""
    folder = data / "rtabmap_samples"
    rows = read_table(folder / "revisits.csv")
    rows = rows[rows["match"] >= 0]
    frame = np.arange(1, 85)
    files = [folder / f"{number}.jpg" for number in frame]
    searchable = rows["query"] - 10  # the last frames are too recent
    copies = rows["match"][:, np.newaxis] + np.array((-LAP, 0, LAP))
    near = (np.abs(frame[:, np.newaxis] - copies[:, np.newaxis]) <= 2).any(axis=2)
    return write_pairs(
        output / "rtabmap_samples",
        "at most 2 frames from the verified one, in any earlier lap",
        files,
        [files[number - 1] for number in rows["query"]],
        near & (frame <= searchable[:, np.newaxis]),
        frame=rows["query"],
        searchable=searchable,
    )


def campus_robot(data: Path, output: Path) -> Path:
    """One drive that passes no place twice: every second frame among the others."""
    folder = data / "campus_robot"
    rows = read_table(folder / "data.csv", ("image", "x", "y", "yaw"))  # m, m, rad
    shown, asked = rows[::2], rows[1::2]
    apart = np.hypot(*(asked[axis][:, np.newaxis] - shown[axis] for axis in ("x", "y")))
    facing = np.cos(asked["yaw"][:, np.newaxis] - shown["yaw"]) >= np.cos(np.radians(45.0))
    return write_pairs(
        output / "campus_robot",
        "at most 5 m and 45 degrees away; every second frame is a query",
        images(folder, shown),
        images(folder, asked),
        (apart <= 5.0) & facing,
        frame=range(len(asked)),
    )


def ie_tower(data: Path, output: Path, name: str = "ie_tower") -> Path:
    """Walks through a tower whose floors look alike; `name` is one of TOWERS."""
    floors, rule, is_right = TOWERS[name]
    folder = data / "ie_tower"
    rows = read_table(folder / "frames.csv")
    rows = rows[np.isin(rows["floor"], floors)]
    shown, asked = (rows[rows["split"] == split] for split in ("gallery", "query"))
    right = is_right(asked, shown) & equal(asked, shown, "floor")
    return write_pairs(output / name, rule, images(folder, shown), images(folder, asked), right)


def _same_video(asked: Rows, shown: Rows) -> npt.NDArray[np.bool_]:
    near = np.abs(asked["frame"][:, np.newaxis] - shown["frame"]) <= 2
    return np.asarray(near & equal(asked, shown, "video"))


NEAR_IN_VIDEO = "at most 2 frames away in the same video"
TOWERS: dict[str, tuple[list[str], str, Callable[[Rows, Rows], npt.NDArray[np.bool_]]]] = {
    "ie_tower": (TEST_FLOORS, NEAR_IN_VIDEO, _same_video),
    "ie_tower_val": (VALIDATION_FLOORS, NEAR_IN_VIDEO, _same_video),
    "ie_tower_spots": (
        TEST_FLOORS,
        "same area of the same floor, in any video",
        partial(equal, column="area"),
    ),
}


def home_streetview(data: Path, output: Path) -> Path:
    """A house under renovation: the first stage of each room is the map, later ones ask."""
    folder = data / "home_streetview"
    rows = read_table(folder / "frames.csv")
    earlier = rows["time_stage"] < rows["time_stage"][:, np.newaxis]
    later = (earlier & equal(rows, rows, "place")).any(axis=1)
    shown, asked = rows[~later], rows[later & _comparable(rows)]
    yaw = asked["yaw_aligned_deg"][:, np.newaxis] - shown["yaw_aligned_deg"]
    return write_pairs(
        output / "home_streetview",
        "same place before the renovation, heading within 30 degrees",
        images(folder, shown),
        images(folder, asked),
        (np.abs((yaw + 180) % 360 - 180) <= 30.0) & equal(asked, shown, "place"),
    )


def _comparable(rows: Rows) -> npt.NDArray[np.bool_]:
    """Is the heading of a view comparable over time, and does it show anything?"""
    known = (rows["offset_known"] == "yes") & ~np.isin(rows["place"], REBUILT)
    return np.asarray(known & (rows["n_fast"] >= CORNERS))


def corridor(data: Path, output: Path) -> Path:
    """One corridor walked twice."""
    for side in ("ref", "query"):
        _link(data / "corridor" / side, output / "corridor" / side)
    return output / "corridor"


def write_places(path: Path, files: Iterable[Path], **columns: Iterable[object]) -> Path:
    """Write the table `places` of training: images and what is known of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", *columns])
        table.writerows(zip((f.resolve() for f in files), *columns.values(), strict=True))
    return path


def ie_tower_places(data: Path, output: Path) -> Path:
    """Sequences on the training floors; the same area of other floors looks alike."""
    folder = data / "ie_tower"
    rows = read_table(folder / "frames.csv")
    rows = rows[~np.isin(rows["floor"], TEST_FLOORS + VALIDATION_FLOORS)]
    return write_places(
        output / "places" / "ie_tower.csv",
        images(folder, rows),
        sequence=rows["video"],
        frame=rows["frame"],
        site=rows["floor"],
        group=rows["area"],
    )


def polyhaven_places(data: Path, output: Path) -> Path:
    """Panoramas: all places of one overlap, since neighbours share a heading."""
    folder = data / "polyhaven_hdri"
    rows = read_table(folder / "frames.csv")
    rows = rows[rows["n_fast"] >= CORNERS]
    files, places, sites = [], [], []
    for site, heading in np.unique(rows[["place", "yaw_deg"]]):
        # To one side only, so that all pairs of a place are close.
        near = (rows["place"] == site) & ((rows["yaw_deg"] - heading) % 360.0 <= 30.0)
        if near.sum() > 1:
            files += images(folder, rows[near])
            places += [f"{site}_{heading:g}"] * near.sum()
            sites += [site] * near.sum()
    return write_places(output / "places" / "polyhaven_hdri.csv", files, place=places, site=sites)


def home_places(data: Path, output: Path) -> Path:
    """Rooms of one house at all stages of its renovation: all places of one room overlap."""
    folder = data / "home_streetview"
    rows = read_table(folder / "frames.csv")
    rows = rows[_comparable(rows)]
    same = equal(rows, rows, "place") & equal(rows, rows, "yaw_aligned_deg")
    rows = rows[same.sum(axis=1) > 1]
    return write_places(
        output / "places" / "home_streetview.csv",
        images(folder, rows),
        place=[f"{row['place']}_{row['yaw_aligned_deg']:g}" for row in rows],
        site=rows["place"],
    )


def facades(data: Path, output: Path) -> Path:
    """Photographs, one view each."""
    return _link(data / "facades", output / "facades")


def _link(source: Path, link: Path) -> Path:
    if not source.is_dir():
        raise VprError(f"{source} does not exist.")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(source.resolve())
    return link


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
