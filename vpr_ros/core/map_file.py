# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps on disk: one file each, written completely or not at all, and checked when read.

The file is a NumPy .npz archive without pickles, a zip whose checksums reveal damage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import MapError
from vpr_ros.core.keyframe import FEATURE_SIZES, LocalFeatures, Place
from vpr_ros.core.pose import Pose

FORMAT = 2
ONLY_ORB = 1  # the format before there was a choice of local features
SUFFIX = ".vprmap"


@dataclasses.dataclass(frozen=True)
class MapData:
    """N keyframes as arrays; a row of NaN is a missing pose or camera matrix."""

    model: str
    model_digest: str  # of its weights; empty: not known
    names: tuple[str, ...]  # of frames, indexed by `frames`
    ids: npt.NDArray[np.uint64]  # (N,)
    sequence: npt.NDArray[np.int64]  # (N,) order of arrival, rising
    sessions: npt.NDArray[np.int64]  # (N,)
    stamps_ns: npt.NDArray[np.int64]  # (N,)
    sparsity: npt.NDArray[np.float32]  # (N,)
    frames: npt.NDArray[np.int64]  # (N, 2) camera frame, pose frame
    poses: npt.NDArray[np.float64]  # (N, 7) x y z qx qy qz qw
    descriptors: npt.NDArray[Any]  # (N, D) float16 or float32
    feature_counts: npt.NDArray[np.int64]  # (N,) -1: none stored
    keypoints: npt.NDArray[np.float32]  # (sum of counts, 2)
    feature_sizes: npt.NDArray[np.int64]  # (N,) bytes of a descriptor, as in FEATURE_SIZES
    feature_descriptors: npt.NDArray[np.uint8]  # (sum of counts x sizes,)
    pixel_sizes: npt.NDArray[np.float32]  # (N,) NaN: no features
    camera_matrices: npt.NDArray[np.float64]  # (N, 3, 3)
    links: npt.NDArray[np.int64]  # (M, 2) closed loops, by sequence


_HEADER = ("model", "model_digest", "names")
_ARRAYS = tuple(f.name for f in dataclasses.fields(MapData) if f.name not in _HEADER)


def pack(
    model: str,
    places: Sequence[Place],
    descriptors: npt.NDArray[Any],
    links: Sequence[tuple[int, int]],
    model_digest: str = "",
) -> MapData:
    """The map of N places, their descriptors (N, D) and M links between sequence numbers."""
    names = sorted({n for p in places for n in (p.frame, p.pose_frame)})
    frames = [(names.index(p.frame), names.index(p.pose_frame)) for p in places]
    features = [p.features for p in places if p.features is not None]
    counts = [len(p.features.keypoints) if p.features else -1 for p in places]
    return MapData(
        model=model,
        model_digest=model_digest,
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
        feature_sizes=np.array(
            [p.features.descriptors.shape[1] if p.features else 0 for p in places], np.int64
        ),
        feature_descriptors=np.concatenate(
            [np.empty(0, np.uint8), *(f.descriptors.ravel() for f in features)]
        ),
        pixel_sizes=np.array(
            [p.features.pixel_size if p.features else np.nan for p in places], np.float32
        ),
        camera_matrices=np.array([_matrix(p.features) for p in places]).reshape(-1, 3, 3),
        links=np.array(links, np.int64).reshape(-1, 2),
    )


def unpack(data: MapData, rows: Iterable[int]) -> Iterator[Place]:
    """The places in these rows of a map."""
    counts = data.feature_counts.clip(min=0)
    ends = counts.cumsum()
    bytes_end = (counts * data.feature_sizes).cumsum()
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
            features=_features(data, row, int(ends[row]), int(bytes_end[row])),
        )


def with_free_ids(data: MapData, taken: Mapping[int, int]) -> MapData:
    """The map with new ids for keyframes whose id another keyframe has.

    `taken` gives the stamps [ns] of the ids in use; both copies of one keyframe have one stamp.
    Encoders used to count ids from the second of their start, which two of them may share. The
    new ids are the same each time, so loading a map twice changes nothing.
    """
    ids = data.ids.copy()
    for row, (id, stamp_ns) in enumerate(zip(data.ids.tolist(), data.stamps_ns, strict=True)):
        if taken.get(id, stamp_ns) != stamp_ns:
            digest = hashlib.sha256(f"{id} {stamp_ns}".encode()).digest()
            ids[row] = int.from_bytes(digest[:8], "big") >> 1
    return dataclasses.replace(data, ids=ids)


def write_map(path: Path, data: MapData) -> int:
    """Write a map atomically and durably; returns the size of the file [bytes].

    Raises MapError if it cannot be written; an existing file is then untouched.
    """
    header = json.dumps({"format": FORMAT} | {name: getattr(data, name) for name in _HEADER})
    arrays = {name: getattr(data, name) for name in _ARRAYS}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            left.unlink()  # by a save that was killed
        with temporary.open("wb") as file:
            np.savez(file, header=np.frombuffer(header.encode(), np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder may not be a folder
            temporary.unlink()
        raise MapError(
            f"Map {path} cannot be written ({error.strerror}). Earlier maps are untouched; choose "
            "a folder that is writable and has enough space."
        ) from None
    return size


def read_map(path: Path) -> MapData:
    """Read a map and check all of it; raises MapError if it is missing or damaged."""
    if not os.path.isfile(path):  # Path.is_file raises if a folder is not readable
        raise MapError(f"Map {path} does not exist. Give the path that SaveMap was called with.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            # NumPy only checks the checksum of an array that it reads to the end.
            if damaged := archive.zip.testzip():
                raise ValueError(f"wrong checksum of {damaged}")
            header = json.loads(bytes(archive["header"]))
            if header["format"] not in (ONLY_ORB, FORMAT):
                raise MapError(
                    f"Map {path} has format {header['format']}; this version of vpr_ros reads "
                    f"{ONLY_ORB} and {FORMAT}. Update vpr_ros."
                )
            stored = dict(archive.items())
            if header["format"] == ONLY_ORB:
                stored["feature_descriptors"] = stored["feature_descriptors"].reshape(-1)
                stored["feature_sizes"] = np.full(len(stored["ids"]), FEATURE_SIZES["orb"])
            arrays = {name: stored[name] for name in _ARRAYS}
        data = MapData(
            model=header["model"],
            model_digest=header.get("model_digest", ""),  # younger than the first maps
            names=tuple(header["names"]),
            **arrays,
        )
        _check(data)
    except MapError:
        raise
    except PermissionError:
        raise MapError(f"Map {path} is not readable. Change its permissions.") from None
    except Exception as error:  # zipfile and NumPy raise a dozen types for damaged files
        raise MapError(
            f"Map {path} is damaged ({error}). Restore it from a copy; nothing was loaded."
        ) from None
    return data


def _check(data: MapData) -> None:
    count = len(data.ids)
    rows = set(_ARRAYS) - {"keypoints", "feature_descriptors", "links"}
    for name in rows:
        if len(getattr(data, name)) != count:
            raise ValueError(f"{name} has {len(getattr(data, name))} rows for {count} keyframes")
    counts = data.feature_counts.clip(min=0)
    if len(data.keypoints) != counts.sum():
        raise ValueError(f"{len(data.keypoints)} keypoints for a count of {counts.sum()}")
    if data.feature_descriptors.shape != ((counts * data.feature_sizes).sum(),):
        raise ValueError(f"{len(data.feature_descriptors)} bytes of feature descriptors")
    if data.descriptors.ndim != 2 or not np.isfinite(data.descriptors).all():
        raise ValueError("descriptors are not finite")


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pose_row(pose: Pose | None) -> tuple[float, ...]:
    return (np.nan,) * 7 if pose is None else dataclasses.astuple(pose)


def _pose(row: npt.NDArray[np.float64]) -> Pose | None:
    return None if np.isnan(row[0]) else Pose(*map(float, row))


def _matrix(features: LocalFeatures | None) -> npt.NDArray[np.float64]:
    if features is None or features.camera_matrix is None:
        return np.full((3, 3), np.nan)
    return features.camera_matrix


def _features(data: MapData, row: int, end: int, bytes_end: int) -> LocalFeatures | None:
    count, size = int(data.feature_counts[row]), int(data.feature_sizes[row])
    if count < 0:
        return None
    matrix = data.camera_matrices[row]
    return LocalFeatures(
        # copied, so that an evicted place releases its memory
        keypoints=data.keypoints[end - count : end].copy(),
        descriptors=data.feature_descriptors[bytes_end - count * size : bytes_end]
        .reshape(count, size)
        .copy(),
        pixel_size=float(data.pixel_sizes[row]),
        camera_matrix=None if np.isnan(matrix).any() else matrix,
    )
