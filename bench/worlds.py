# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The data sets of the retrieval benchmark, and which of their image pairs are right answers."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ImageError

Mask = npt.NDArray[np.bool_]

LAP = 40  # frames of one lap of rtabmap_samples
RECENT = 10  # frames before a query that the search leaves out
RIGHT = 2  # frames
OTHER_PLACE = 5  # frames: farther from the best match, a candidate is another place


@dataclasses.dataclass(frozen=True)
class World:
    """Images of one data set and which pairs (query, candidate) mean what; masks are (N, N)."""

    name: str
    images: list[npt.NDArray[np.uint8]]  # BGR
    searched: Mask  # the candidates of a query; a query without any is left out
    right: Mask
    same_place: Mask  # candidates too close to each other for a margin


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """A BGR image (H, W, 3); ImageError if there is none."""
    image = cv2.imread(str(path))
    if image is None:
        raise ImageError(f"{path} is missing or no image. Give the data folder with --data.")
    return np.asarray(image, dtype=np.uint8)


def read_rows(path: Path, header: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """The rows of a CSV file, by column name; `header` names the columns if the file does not."""
    if not path.is_file():
        raise ImageError(f"{path} does not exist. Give the data folder with --data.")
    with path.open(newline="") as file:
        return list(csv.DictReader(file, fieldnames=header or None))


def office_corridor(data: Path) -> World:
    """rtabmap_samples: two laps of one corridor; revisits checked by hand in revisits.csv.

    Queries of the first lap have no right answer. Those of the second that could not be verified
    are left out.
    """
    folder = data / "rtabmap_samples"
    frames = np.arange(1, 85)
    searched = frames[:, None] - frames >= RECENT
    right = np.zeros_like(searched)
    for row in read_rows(folder / "revisits.csv"):
        query = int(row["query"]) - 1
        if not row["match"]:
            searched[query] = False
            continue
        for copy in (-LAP, 0, LAP):
            right[query] |= np.abs(frames - (int(row["match"]) + copy)) <= RIGHT
    apart = np.abs(frames[:, None] - frames)
    same_place = np.minimum(apart, np.abs(apart - LAP)) <= OTHER_PLACE
    images = [read_image(folder / f"{frame}.jpg") for frame in frames]
    return World(folder.name, images, searched, right, same_place)


def elsewhere_worlds(data: Path) -> list[World]:
    """Three data sets in which every candidate is wrong: where the robot has never been."""
    return [
        _campus(data / "campus_robot"),
        _corridor(data / "corridor"),
        _tower(data / "ie_tower"),
    ]


def _campus(folder: Path) -> World:
    rows = read_rows(folder / "data.csv", ("image", "x", "y", "yaw"))
    position = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    distance_m = np.linalg.norm(position[:, None] - position, axis=2)
    images = [read_image(folder / row["image"]) for row in rows]
    return _all_wrong(folder.name, images, distance_m > 20.0, _near(len(rows)))


def _corridor(folder: Path) -> World:
    paths = sorted((folder / "query").glob("*.jpg")) + sorted((folder / "ref").glob("*.jpg"))
    half = len(paths) // 2
    index = np.arange(len(paths))
    other_walk = (index[:, None] < half) & (index >= half)
    searched = other_walk & (np.abs(index[:, None] - (index - half)) > 10)
    return _all_wrong(folder.name, [read_image(p) for p in paths], searched, _near(len(paths)))


def _tower(folder: Path) -> World:
    rows = read_rows(folder / "frames.csv")
    floor, video = (np.array([row[key] for row in rows]) for key in ("floor", "video"))
    frame = np.array([int(row["frame"]) for row in rows])
    near = np.abs(frame[:, None] - frame) <= OTHER_PLACE
    same_place = (video[:, None] == video) & near
    images = [read_image(folder / row["image"]) for row in rows]
    return _all_wrong(folder.name, images, floor[:, None] != floor, same_place)


def _near(count: int) -> Mask:
    index = np.arange(count)
    near: Mask = np.abs(index[:, None] - index) <= OTHER_PLACE
    return near


def _all_wrong(
    name: str, images: list[npt.NDArray[np.uint8]], searched: Mask, same_place: Mask
) -> World:
    return World(name, images, searched, np.zeros_like(searched), same_place)
