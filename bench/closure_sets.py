# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image sets as a robot would meet them: walks with first laps, and maps without the place asked.

A set of pairs has an answer to every query. A robot asks on its first lap as well, and on floors
that it never mapped; only then does it show whether "no" is said when "no" is right.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tools.shared_sets import LAP, TEST_FLOORS
from vpr_ros.core.contract import Contract
from vpr_ros.core.keyframe import Keyframe, LocalFeatures
from vpr_ros.core.pose import Pose
from vpr_ros.evaluation.image_set import read_rows

Mask = npt.NDArray[np.bool_]

RIGHT_FRAMES = 2  # in rtabmap_samples and corridor
RTABMAP_FRAMES = 84
CAMPUS_RADIUS_M, CAMPUS_DEG = 5.0, 45.0


@dataclasses.dataclass(frozen=True)
class View:
    """One image and when it was taken; a step back in time starts a new session."""

    image: Path
    stamp_s: float
    pose: Pose | None = None

    def keyframe(
        self,
        number: int,
        contract: Contract,
        descriptor: np.ndarray,
        features: LocalFeatures | None,
    ) -> Keyframe:
        """The keyframe of this image, made at sparsity 0."""
        return Keyframe(
            id=number,
            stamp_ns=round(self.stamp_s * 1e9) + number,
            model=contract.name,
            sparsity=0.0,
            descriptor=descriptor,
            pose=self.pose,
            pose_frame="odom" if self.pose else "",
            features=features,
            calibration=contract.calibration_at(0.0),
        )


@dataclasses.dataclass(frozen=True)
class ClosureSet:
    """A map, and queries that are asked one after the other or each on its own.

    In a walk every query joins the map.
    """

    name: str
    map: tuple[View, ...]
    queries: tuple[View, ...]
    right: Mask  # (Q, M + Q): would a closure with this keyframe of map and queries be right?
    walk: bool
    judged: Mask  # (Q,)


def rtabmap_samples(data: Path) -> ClosureSet:
    """Two laps and a half of an office corridor, first lap included, without odometry."""
    folder = data / "rtabmap_samples"
    right = np.zeros((RTABMAP_FRAMES, RTABMAP_FRAMES), bool)
    judged = np.ones(RTABMAP_FRAMES, bool)
    frames = np.arange(RTABMAP_FRAMES)
    for row in read_rows(folder / "revisits.csv", ("query", "match")):
        query = int(row["query"]) - 1
        judged[query] = bool(row["match"])
        if row["match"]:
            for lap in (-LAP, 0, LAP):
                right[query] |= np.abs(frames - (int(row["match"]) - 1 + lap)) <= RIGHT_FRAMES
    # A frame a second: as many frames are too recent as seconds.
    views = tuple(View(folder / f"{i + 1}.jpg", float(i)) for i in frames)
    return ClosureSet(folder.name, (), views, right, True, judged)


def corridor(data: Path) -> ClosureSet:
    """One corridor walked twice, 160x120 px, without odometry."""
    walks = [
        tuple(
            View(path, float(i))
            for i, path in enumerate(sorted((data / "corridor" / name).glob("*.jpg")))
        )
        for name in ("ref", "query")
    ]
    count = len(walks[1])
    index = np.arange(count)
    right = np.zeros((count, 2 * count), bool)
    right[:, :count] = np.abs(index[:, None] - index) <= RIGHT_FRAMES
    return ClosureSet("corridor", walks[0], walks[1], right, True, np.ones(count, bool))


def campus_robot(data: Path) -> ClosureSet:
    """A drive with odometry that passes no place twice: every closure would be wrong."""
    folder = data / "campus_robot"
    rows = [line.split(",") for line in (folder / "data.csv").read_text().split()]
    poses = np.array([[float(value) for value in row[1:4]] for row in rows])
    near = np.linalg.norm(poses[:, None, :2] - poses[:, :2], axis=2) <= CAMPUS_RADIUS_M
    turn = np.cos(poses[:, None, 2] - poses[:, 2]) >= math.cos(math.radians(CAMPUS_DEG))
    views = tuple(
        View(folder / row[0], float(i), Pose.planar(*map(float, poses[i])))
        for i, row in enumerate(rows)
    )
    return ClosureSet(folder.name, (), views, near & turn, True, np.ones(len(views), bool))


def ie_tower(
    data: Path, mapped: bool, test: bool = True, walk: bool = False
) -> Iterator[ClosureSet]:
    """Queries on the test floors, or on the others, by spot (floor and area).

    The map holds all these floors, or all but the query's own unless `mapped`. In a `walk` every
    second frame is in the map and those between are walked in order; else queries are single.
    """
    folder = data / "ie_tower"
    rows = read_rows(folder / "frames.csv", ("image", "floor", "area", "video", "frame", "split"))
    rows = [row for row in rows if (row["floor"] in TEST_FLOORS) == test]
    in_map = [int(row["frame"]) % 2 == 0 if walk else row["split"] == "gallery" for row in rows]
    gallery = [row for row, known in zip(rows, in_map, strict=True) if known]
    asked = [row for row, known in zip(rows, in_map, strict=True) if not known]
    for floor in (None,) if mapped else sorted({row["floor"] for row in asked}):
        known = [row for row in gallery if row["floor"] != floor]
        queries = [row for row in asked if floor in (None, row["floor"])]
        spots = np.array([f"{row['floor']}/{row['area']}" for row in (*known, *queries)])
        videos = sorted({row["video"] for row in queries})
        starts_s = {video: 1e4 + 1e3 * i if walk else 0.0 for i, video in enumerate(videos)}
        yield ClosureSet(
            "ie_tower" if mapped else "ie_tower, unmapped floor",
            tuple(View(folder / row["image"], float(row["frame"])) for row in known),
            tuple(
                View(folder / r["image"], starts_s[r["video"]] + walk * float(r["frame"]))
                for r in queries
            ),
            spots[len(known) :, None] == spots,
            walk,
            np.ones(len(queries), bool),
        )
