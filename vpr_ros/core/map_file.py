# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A map on disk: one file, written whole or not at all, checked when read.

The file is a NumPy .npz archive (a zip, whose checksums reveal damage) without pickles.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import MapError

FORMAT = 1
SUFFIX = ".vprmap"


@dataclasses.dataclass(frozen=True)
class MapData:
    """N keyframes as arrays; NaN rows stand for a missing pose or camera matrix."""

    model: str
    names: tuple[str, ...]  # frame names, indexed by `frames`
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
    feature_descriptors: npt.NDArray[np.uint8]  # (sum of counts, 32)
    pixel_sizes: npt.NDArray[np.float32]  # (N,) NaN: no features
    camera_matrices: npt.NDArray[np.float64]  # (N, 3, 3)
    links: npt.NDArray[np.int64]  # (M, 2) sequence numbers of closed loops


_ARRAYS = tuple(f.name for f in dataclasses.fields(MapData) if f.name not in ("model", "names"))


def write_map(path: Path, data: MapData) -> int:
    """Write `data` to `path` atomically and durably; returns the file's size [bytes].

    Raises MapError if the folder cannot be written; a file already there is then untouched.
    """
    header = json.dumps({"format": FORMAT, "model": data.model, "names": data.names})
    arrays = {name: getattr(data, name) for name in _ARRAYS}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            left.unlink()  # of a save that was killed
        with temporary.open("wb") as file:
            np.savez(file, header=np.frombuffer(header.encode(), np.uint8), **arrays)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder may be no folder at all
            temporary.unlink()
        raise MapError(
            f"Map {path} cannot be written ({error.strerror}). Nothing saved before is lost; "
            "choose a folder that is writable and has room."
        ) from None
    return size


def read_map(path: Path) -> MapData:
    """Read a map and check it throughout; raises MapError if it is missing or damaged."""
    if not os.path.isfile(path):  # Path.is_file raises where a folder may not be read
        raise MapError(f"Map {path} does not exist. Give the path that SaveMap was called with.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            # NumPy checks the sum of an array only if it reads all of it.
            if damaged := archive.zip.testzip():
                raise ValueError(f"wrong checksum of {damaged}")
            header = json.loads(bytes(archive["header"]))
            if header["format"] != FORMAT:
                raise MapError(
                    f"Map {path} has format {header['format']}; this version of vpr_ros reads "
                    f"{FORMAT}. Update vpr_ros."
                )
            arrays = {name: archive[name] for name in _ARRAYS}
        data = MapData(model=header["model"], names=tuple(header["names"]), **arrays)
        _check(data)
    except MapError:
        raise
    except PermissionError:
        raise MapError(f"Map {path} may not be read. Change its permissions.") from None
    except Exception as error:  # zipfile and NumPy raise a dozen types on damaged files
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
    features = int(data.feature_counts.clip(min=0).sum())
    if not len(data.keypoints) == len(data.feature_descriptors) == features:
        raise ValueError(f"{len(data.keypoints)} keypoints for a count of {features}")
    if data.descriptors.ndim != 2 or not np.isfinite(data.descriptors).all():
        raise ValueError("descriptors are not finite")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
