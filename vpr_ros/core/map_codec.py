# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places to the arrays of a map and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.keyframe import LocalFeatures
from vpr_ros.core.map_file import MapData
from vpr_ros.core.place import Place
from vpr_ros.core.pose import Pose


def pack(
    model: str,
    places: Sequence[Place],
    descriptors: npt.NDArray[Any],
    links: Sequence[tuple[int, int]],
) -> MapData:
    """The map of N places with their descriptors (N, D) and M links between sequences."""
    names = sorted({n for p in places for n in (p.frame, p.pose_frame)})
    frames = [(names.index(p.frame), names.index(p.pose_frame)) for p in places]
    features = [p.features for p in places if p.features is not None]
    counts = [len(p.features.keypoints) if p.features else -1 for p in places]
    return MapData(
        model=model,
        names=tuple(names),
        ids=np.array([p.id for p in places], np.uint64),
        sequence=np.array([p.sequence for p in places], np.int64),
        sessions=np.array([p.session for p in places], np.int64),
        stamps_ns=np.array([p.stamp_ns for p in places], np.int64),
        sparsity=np.array([p.sparsity for p in places], np.float32),
        frames=np.array(frames, np.int64).reshape(-1, 2),
        poses=np.array([_pose_row(p.pose) for p in places]).reshape(-1, 7),
        descriptors=descriptors,
        feature_counts=np.array(counts, np.int64),
        keypoints=np.concatenate([np.empty((0, 2), np.float32), *(f.keypoints for f in features)]),
        feature_descriptors=np.concatenate(
            [np.empty((0, 32), np.uint8), *(f.descriptors for f in features)]
        ),
        pixel_sizes=np.array(
            [p.features.pixel_size if p.features else np.nan for p in places], np.float32
        ),
        camera_matrices=np.array([_matrix(p.features) for p in places]).reshape(-1, 3, 3),
        links=np.array(links, np.int64).reshape(-1, 2),
    )


def unpack(data: MapData, rows: Iterable[int]) -> Iterator[Place]:
    """The places in the given rows of a map."""
    ends = data.feature_counts.clip(min=0).cumsum()
    for row in map(int, rows):
        camera, fixed = data.frames[row]
        yield Place(
            sequence=int(data.sequence[row]),
            session=int(data.sessions[row]),
            id=int(data.ids[row]),
            stamp_ns=int(data.stamps_ns[row]),
            sparsity=float(data.sparsity[row]),
            frame=data.names[camera],
            pose=_pose(data.poses[row]),
            pose_frame=data.names[fixed],
            features=_features(data, row, int(ends[row])),
        )


def _pose_row(pose: Pose | None) -> tuple[float, ...]:
    return (np.nan,) * 7 if pose is None else dataclasses.astuple(pose)


def _pose(row: npt.NDArray[np.float64]) -> Pose | None:
    return None if np.isnan(row[0]) else Pose(*map(float, row))


def _matrix(features: LocalFeatures | None) -> npt.NDArray[np.float64]:
    if features is None or features.camera_matrix is None:
        return np.full((3, 3), np.nan)
    return features.camera_matrix


def _features(data: MapData, row: int, end: int) -> LocalFeatures | None:
    count = int(data.feature_counts[row])
    if count < 0:
        return None
    matrix = data.camera_matrices[row]
    return LocalFeatures(
        # copied, so that an evicted place frees its memory
        keypoints=data.keypoints[end - count : end].copy(),
        descriptors=data.feature_descriptors[end - count : end].copy(),
        pixel_size=float(data.pixel_sizes[row]),
        camera_matrix=None if np.isnan(matrix).any() else matrix,
    )
