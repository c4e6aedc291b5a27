# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps on disk: one file each, written completely or not at all, and checked when read.

The file is a NumPy .npz archive without pickles or compression, a zip whose checksums reveal
damage. Its array headers say how large it is before anything is read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.durable_file import (
    FileStamp,
    absolute,
    file_stamp,
    open_regular,
    write_durably,
)
from vpr_ros.core.errors import MapError
from vpr_ros.core.keyframe import FEATURE_SIZES, PLACE_BYTES, Place
from vpr_ros.core.map_data import ARRAYS, MapData, check, check_array, pack

FORMAT = 4
ONLY_ORB = 1  # the format before there was a choice of local features
NO_THUMBNAILS = 2  # the format before keyframes had thumbnails
NO_SHARPNESS = 3  # the format before local features came with the condition of their image
SUFFIX = ".vprmap"
MAX_NAME = 128  # bytes of a file's name
MAX_HEADER = 2**26  # bytes, of names
LINK_BYTES = 200  # of a closed loop in memory: an entry in two sets
# A map begins like this: a zip whose first member is the header.
_BEGINNING = (b"PK\x03\x04", b"header.npy")
# The files whose keyframes a database has or had, and its revision at that time.
KnownFiles = dict[Path, tuple[FileStamp | None, int]]
_noting = threading.Lock()


@dataclasses.dataclass(frozen=True)
class LoadedMap:
    """A map and the file that it was read from."""

    path: Path
    stamp: FileStamp | None
    data: MapData

    @classmethod
    def read(cls, path: Path, max_bytes: float) -> LoadedMap:
        """Read a map; raises MapError as `read_map` does."""
        path = absolute(path)
        stamp = file_stamp(path)  # before it is read, so that a later change is noticed
        return cls(path, stamp, read_map(path, max_bytes))


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The state that a save writes, as of one moment; another thread may write it."""

    path: Path
    overwrite: bool  # see write_map
    model: str
    model_digest: str
    places: list[Place]
    descriptors: npt.NDArray[Any]
    links: list[tuple[int, int]]
    revision: int  # of the database
    files: KnownFiles  # of the database

    def pack(self, **options: Any) -> MapData:
        """The whole snapshot as arrays."""
        header = self.model, self.places, self.descriptors, self.links, self.model_digest
        return pack(*header, **options)

    def write(self) -> FileStamp:
        """Write the map and record that it was saved; raises MapError as `write_map` does."""
        known, revision = self.files.get(self.path, (None, 0))
        if revision > self.revision:  # loaded since: this snapshot lacks what the file holds
            known = None
        # In pieces, since local features are most of a map: joined, they would take the memory
        # of the database once more, and joining them stops all other threads.
        stamp = write_map(self.path, self.pack(join=_Pieces), known, self.overwrite)
        note_file(self.files, self.path, stamp, self.revision)
        return stamp


class _Pieces:
    """Arrays that are written as one."""

    def __init__(self, arrays: list[npt.NDArray[Any]]) -> None:
        self.arrays = arrays
        self.dtype = arrays[0].dtype
        self.shape = (sum(map(len, arrays)), *arrays[0].shape[1:])


def note_file(files: KnownFiles, path: Path, stamp: FileStamp | None, revision: int) -> None:
    """Note a map that was read or written, unless another thread has replaced it since."""
    with _noting:
        if file_stamp(path) == stamp:
            files[path] = stamp, revision


def map_path(folder: Path, name: str) -> Path:
    """The path of a map in `folder`, given its name or its path in that folder, without links.

    The suffix .vprmap may be left out. Raises MapError for a path that is not directly in the
    folder, is hidden, or is too long; whether a path outside the folder exists makes no
    difference.
    """
    folder = absolute(folder)
    head, _, last = name.rpartition("/")
    inside = "/" not in name or absolute(Path(head or "/")) == folder
    last += "" if last.endswith(SUFFIX) else SUFFIX
    plain = last.isprintable() and not last.startswith(".")
    if not inside or not plain or len(last.encode(errors="replace")) > MAX_NAME:
        raise MapError(
            f"'{name[:80]}' is not the name of a map. Give a name such as 'office', at most "
            f"{MAX_NAME} bytes long and without '/'; maps are kept in {folder} (map_folder)."
        )
    return folder / last


def write_map(
    path: Path, data: MapData, known: FileStamp | None = None, overwrite: bool = False
) -> FileStamp:
    """Write a map atomically and durably; returns the stamp of the new file.

    An existing file is replaced if it has the stamp `known`, or with `overwrite` if it begins as a
    map does. Raises MapError if the map cannot be written; an existing file is then untouched.
    """
    header = json.dumps({"format": FORMAT} | {name: getattr(data, name) for name in _HEADER})
    arrays = {"header": np.frombuffer(header.encode(), np.uint8)}
    arrays |= {name: getattr(data, name) for name in ARRAYS}

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                _write_array(archive, name, array)

    def check(current: FileStamp, beginning: bytes) -> None:
        if current == known:
            return
        if not overwrite:
            raise MapError(
                f"Map {path} exists and was neither saved here nor loaded as a whole"
                f"{', or has been changed since' if known else ''}. Load all of it first, choose "
                "another name, or set overwrite."
            )
        if not beginning.startswith(_BEGINNING[0]) or beginning[30:40] != _BEGINNING[1]:
            raise MapError(
                f"{path} exists and is not a map, so it is not overwritten. Choose another name, "
                "or remove it by hand."
            )

    try:
        return write_durably(path, write, check)
    except OSError as error:
        raise MapError(
            f"Map {path} cannot be written ({error.strerror}). Earlier maps are untouched; choose "
            "a folder that is writable and has enough space."
        ) from None


def read_map(path: Path, max_bytes: float = float("inf")) -> MapData:
    """Read a map and check all of it; raises MapError if it is missing, damaged or not a map.

    MapError is also raised, before memory is allocated, if the keyframes would take more than
    `max_bytes`.
    """
    try:
        found = file_stamp(path)
        if found is None:
            raise MapError(
                f"Map {path} does not exist. Give the name that SaveMap was called with."
            )
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return _read(path, archive, os.fstat(file.fileno()).st_size, max_bytes)
    except MapError:
        raise
    except PermissionError:
        raise MapError(f"Map {path} is not readable. Change its permissions.") from None
    except Exception as error:  # zipfile and NumPy raise a dozen types for damaged files
        raise MapError(
            f"Map {path} is damaged ({error}). Restore it from a copy; nothing was loaded."
        ) from None


_HEADER = ("model", "model_digest", "names", "providers")


def _read(path: Path, archive: zipfile.ZipFile, length: int, max_bytes: float) -> MapData:
    """The map in an archive of `length` bytes."""
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    if len(members) != len(archive.infolist()) or "header" not in members:
        raise ValueError("it does not have the parts of a map")
    if any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members.values()):
        raise ValueError("it is compressed or encrypted")
    if sum(max(m.file_size, m.compress_size) for m in members.values()) > length:
        raise ValueError("its parts are larger than the file")
    with archive.open(members["ids"]) as file:
        (count,) = _array_header(file)[1]
        if not 0 < count <= length:
            raise ValueError(f"it has {count} keyframes")
    needed = length + PLACE_BYTES * count + LINK_BYTES * members["links"].file_size / 16
    if needed > max_bytes:
        raise MapError(
            f"Map {path} needs {needed / 1e6:.0f} MB of memory, more than the "
            f"{max_bytes / 1e6:.0f} MB of database.max_mb. Raise it."
        )
    if members["header"].file_size > MAX_HEADER:
        raise ValueError("its header is too long")
    with archive.open(members["header"]) as file:
        header = json.loads(bytes(_array(file, members["header"].file_size, "header", count)))
    if type(header["format"]) is not int or not ONLY_ORB <= header["format"] <= FORMAT:
        raise MapError(
            f"Map {path} has format {str(header['format'])[:20]}; this version of vpr_ros reads "
            f"{ONLY_ORB} to {FORMAT}. Update vpr_ros."
        )
    names = set(ARRAYS)
    if header["format"] == ONLY_ORB:
        names -= {"feature_sizes"}
    if header["format"] <= NO_THUMBNAILS:
        names -= {"thumbnail_sizes", "thumbnails", "image_widths"}
    if header["format"] <= NO_SHARPNESS:
        names -= {"sharpness", "clipped"}
    if set(members) != names | {"header"}:
        raise ValueError("it does not have the parts of a map")
    arrays = {}
    for name in names:
        with archive.open(members[name]) as file:
            arrays[name] = _array(file, members[name].file_size, name, count)
    if header["format"] == ONLY_ORB:
        arrays["feature_descriptors"] = arrays["feature_descriptors"].reshape(-1)
        arrays["feature_sizes"] = np.full(count, FEATURE_SIZES["orb"])
    if header["format"] <= NO_THUMBNAILS:
        arrays["thumbnail_sizes"] = arrays["image_widths"] = np.zeros(count, np.int64)
        arrays["thumbnails"] = np.empty(0, np.uint8)
    if header["format"] <= NO_SHARPNESS:
        arrays["sharpness"] = arrays["clipped"] = np.zeros(count, np.float32)
    data = MapData(
        model=header["model"],
        model_digest=header.get("model_digest", ""),  # younger than the first maps
        names=tuple(header["names"]),
        providers=tuple(header.get("providers", ())),  # younger still
        **arrays,
    )
    check(data)
    return data


def _write_array(archive: zipfile.ZipFile, name: str, array: Any) -> None:
    """Add an array, or _Pieces of one, as np.savez does."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        described = np.lib.format.dtype_to_descr(array.dtype)
        header = {"descr": described, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in array.arrays if isinstance(array, _Pieces) else [array]:
            file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)


def _array_header(file: IO[bytes]) -> tuple[str, tuple[int, ...]]:
    """Type and shape of an array, from the beginning of its .npy file."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array has a newer format")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if by_columns or dtype.hasobject:
        raise ValueError("an array is not stored row by row")
    return dtype.str, shape


def _array(file: IO[bytes], size: int, name: str, keyframes: int) -> npt.NDArray[Any]:
    """An array of a map, whose file has `size` bytes; its values are not checked."""
    dtype, shape = _array_header(file)
    if name == "header":
        if dtype != "|u1" or len(shape) != 1:
            raise ValueError("its header is no text")
    elif len(shape) == 2 and name == "feature_descriptors":  # as in format ONLY_ORB
        check_array(name, dtype, shape[:1], keyframes)
    else:
        check_array(name, dtype, shape, keyframes)
    wanted = np.dtype(dtype).itemsize
    for side in shape:
        wanted *= side
    if file.tell() + wanted != size:
        raise ValueError(f"{name} has {size - file.tell()} bytes where {wanted} are announced")
    # To the end, since only that makes zipfile compare the checksum.
    return np.frombuffer(file.read(), dtype).reshape(shape)
