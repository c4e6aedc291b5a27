# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The data sets of the retrieval benchmark, and which of their image pairs are right answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.datasets.campus_robot import HEADER
from vpr_ros.evaluation.datasets.image_set import numbers, read_image, read_rows
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.evaluation.datasets.rtabmap_samples import LAP, RECENT, load_rtabmap_samples

Mask = npt.NDArray[np.bool_]

OTHER_PLACE = 5  # frames: farther from the best match, a candidate is another place


@dataclasses.dataclass(frozen=True)
class World:
    """Images of one data set and which pairs (query, candidate) mean what; masks are (N, N)."""

    name: str
    images: list[npt.NDArray[np.uint8]]  # BGR
    searched: Mask  # the candidates of a query; a query without any is left out
    right: Mask
    same_place: Mask  # candidates too close to each other for a margin


def office_corridor(data: Path) -> World:
    """rtabmap_samples: two laps of one corridor, every frame a query.

    Queries of the first lap have no right answer. Those of the second that could not be verified
    are left out.
    """
    revisits = load_rtabmap_samples(data / "rtabmap_samples", DatasetOptions())
    frames = np.arange(len(revisits.database))
    searched = frames[:, None] - frames >= RECENT
    right = np.zeros_like(searched)
    place = {path: index for index, path in enumerate(revisits.database)}
    queries = [place[path] for path in revisits.queries]
    searched[np.setdiff1d(frames[LAP:], queries)] = False
    for query, found in zip(queries, revisits.positives, strict=True):
        right[query, found] = True
    apart = np.abs(frames[:, None] - frames)
    same_place = np.minimum(apart, np.abs(apart - LAP)) <= OTHER_PLACE
    images = [read_image(path) for path in revisits.database]
    return World(revisits.name, images, searched, right, same_place)


def elsewhere_worlds(data: Path) -> list[World]:
    """Three data sets in which every candidate is wrong: where the robot has never been."""
    return [
        _campus(data / "campus_robot"),
        _corridor(data / "corridor"),
        _tower(data / "ie_tower"),
    ]


def _campus(folder: Path) -> World:
    rows = read_rows(folder / "data.csv", HEADER, HEADER)
    position = numbers(rows, ("x", "y"), folder / "data.csv")
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
    rows = read_rows(folder / "frames.csv", ("image", "floor", "video", "frame"))
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
