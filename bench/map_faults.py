# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps altered in 10,000 ways are refused, or do no harm: `python -m bench.faults maps`.

A raw mutation alters bytes of the file. A semantic one alters what the map says and writes it with
right checksums, as a forger would. Survived is what gives one MapError, or a map with which a
database works on: it merges it, finds places in it, takes keyframes, and saves and reads it again.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.errors import KeyframeError, MapError
from vpr_ros.core.keyframe import Keyframe
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector
from vpr_ros.core.map_data import MapData
from vpr_ros.core.map_file import read_map, write_map

COUNT, SIZE = 12, 8  # keyframes of a map, values of a descriptor
Random = np.random.Generator
Parts = dict[str, np.ndarray]


def sample_map(count: int, size: int = SIZE, seed: int = 0) -> MapData:
    """A map of `count` keyframes: the first has two SIFT features, the third one of ORB."""
    rng = np.random.default_rng(seed)
    rows = np.arange(count)
    descriptors, poses = rng.normal(size=(count, size)), rng.normal(size=(count, 7))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    poses[:, 3:] /= np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    poses[1::4] = np.nan
    matrices = np.full((count, 3, 3), np.nan)
    matrices[0] = [[300, 0, 160], [0, 300, 120], [0, 0, 1]]
    jpeg = cv2.imencode(".jpg", np.zeros((12, 16, 3), np.uint8))[1].ravel()
    return MapData(
        model="m",
        model_digest="",
        names=("", "camera", "odom"),
        ids=rows.astype(np.uint64) + 2**63,
        sequence=rows,
        sessions=rows // 10,
        stamps_ns=rows * 10**9,
        sparsity=np.zeros(count, np.float32),
        frames=np.tile([1, 2], (count, 1)),
        poses=poses,
        descriptors=descriptors.astype(np.float16),
        feature_counts=np.select([rows == 0, rows == 2], [2, 1], -1),
        keypoints=rng.uniform(0, 300, (3, 2)).astype(np.float32),
        feature_sizes=np.select([rows == 0, rows == 2], [128, 32], 0),
        feature_descriptors=np.arange(2 * 128 + 32, dtype=np.uint8),
        pixel_sizes=np.where(rows % 2 == 0, 1.6, np.nan).astype(np.float32),
        camera_matrices=matrices,
        sharpness=np.where(rows % 2 == 0, 1.25, 0).astype(np.float32),
        clipped=np.where(rows % 2 == 0, 0.5, 0).astype(np.float32),
        thumbnail_sizes=np.where(rows % 2 == 0, len(jpeg), 0),
        thumbnails=np.tile(jpeg, (count + 1) // 2),
        image_widths=np.where(rows % 2 == 0, 640, 0),
        links=np.array([[0, count - 1]]),
    )


# Raw mutations: bytes in, bytes out.


def _flip(content: bytearray, rng: Random) -> None:
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))


def _overwrite(content: bytearray, rng: Random) -> None:
    at, length = rng.integers(len(content)), rng.integers(1, 65)
    content[at : at + length] = bytes([rng.choice([0, 255, 80, rng.integers(256)])]) * length


def _cut(content: bytearray, rng: Random) -> None:
    del content[rng.integers(len(content)) :]


def _remove(content: bytearray, rng: Random) -> None:
    at = rng.integers(len(content))
    del content[at : at + rng.integers(1, 200)]


def _insert(content: bytearray, rng: Random) -> None:
    at = rng.integers(len(content))
    content[at:at] = rng.bytes(rng.integers(1, 200))


def _move(content: bytearray, rng: Random) -> None:
    source, target, length = (int(n) for n in rng.integers(len(content) // 2, size=3))
    content[target : target + length] = content[source : source + length]


# Semantic mutations: the parts of the archive are altered in place.

_WHOLE = [0, 1, -1, 2, 31, 127, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63)]
_REAL = [0.0, -0.0, 1.0, -1.0, 1e-40, 3.5, 1e4, 1e9, 1e38, 1e300, np.inf, -np.inf, np.nan]


def _pick(parts: Parts, rng: Random) -> str:
    return str(rng.choice([name for name in parts if name != "header"]))


def _value(parts: Parts, rng: Random) -> None:
    name = _pick(parts, rng)
    flat = parts[name].reshape(-1)
    for _ in range(rng.integers(1, 4)):
        whole = flat.dtype.kind in "iu"
        value = rng.choice(np.array(_WHOLE if whole else _REAL, object))
        flat[rng.integers(len(flat))] = (
            np.array([value], object)
            .astype(np.int64 if whole else flat.dtype)[0:1]
            .astype(flat.dtype)[0]
        )


def _scale(parts: Parts, rng: Random) -> None:
    name = _pick(parts, rng)
    row = rng.integers(len(parts[name]))
    parts[name][row] = (parts[name][row] * rng.choice([0, -1, 2, 7, 100])).astype(
        parts[name].dtype
    )


def _rows(parts: Parts, rng: Random) -> None:
    name = _pick(parts, rng)
    rows = rng.integers(len(parts[name]), size=rng.integers(0, 2 * COUNT))
    chosen = [name] if rng.random() < 0.5 else [n for n in parts if len(parts[n]) == COUNT]
    for other in chosen:
        parts[other] = parts[other][rows % max(1, len(parts[other]))]


def _shape(parts: Parts, rng: Random) -> None:
    name = _pick(parts, rng)
    array = parts[name]
    forms = [array.T, array.reshape(-1), array[None], array[..., None], array[:0], array.sum()]
    parts[name] = np.asarray(forms[rng.integers(len(forms))])


def _type(parts: Parts, rng: Random) -> None:
    name = _pick(parts, rng)
    kinds = ["i1", "u2", "i4", "u8", "f2", "f4", "f8", ">i8", ">f4", "c16", "S3", "U2", "?", "O"]
    parts[name] = parts[name].astype(str(rng.choice(kinds)))


def _header(parts: Parts, rng: Random) -> None:
    header = json.loads(bytes(parts["header"]))
    values = [None, 0, 2, -1, 1.5, True, "", "other", "x" * 300, "\ud800", "\0", [], {}, ["a"]]
    values += [["a"] * 3, ["a", 1, None], ["x" * 300] * 3, "9" * 5000, [[[]]], ["a"] * 1000]
    key = str(rng.choice([*header, "new"]))
    header[key] = values[rng.integers(len(values))]
    if rng.random() < 0.2:
        del header[key]
    parts["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)


def _archive(parts: Parts, rng: Random) -> None:
    """What only the archive says; marks are taken up by `_archived`."""
    name = _pick(parts, rng)
    match rng.integers(4):
        case 0:
            del parts[name]
        case 1:
            parts["more"] = parts[name]
        case 2:
            parts["header"] = np.frombuffer(rng.bytes(rng.integers(1, 100)), np.uint8)
        case _:
            parts["*"] = np.array(rng.choice(["compressed", "twice", "announces"]))


RAW: dict[str, Callable[[bytearray, Random], None]] = {
    "bits flipped": _flip,
    "bytes overwritten": _overwrite,
    "file cut": _cut,
    "bytes removed": _remove,
    "bytes inserted": _insert,
    "bytes moved": _move,
}
SEMANTIC: dict[str, Callable[[Parts, Random], None]] = {
    "values": _value,
    "rows scaled": _scale,
    "rows repeated or missing": _rows,
    "shapes": _shape,
    "types": _type,
    "header": _header,
    "archive": _archive,
}


def _archived(parts: Parts, rng: Random) -> bytes:
    """The parts as an archive with right checksums."""
    mark = str(parts.pop("*", ""))
    packed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name occurs twice
        (np.savez_compressed if mark == "compressed" else np.savez)(packed, **parts)
        with zipfile.ZipFile(packed, "a") as archive:
            if mark == "twice":
                archive.writestr("ids.npy", archive.read("ids.npy"))
    content = packed.getvalue()
    if mark == "announces":  # many more keyframes than the file could hold
        many = str(int(rng.choice([10**9, 10**18, 10**30])))
        large = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(large, "w") as new:
            for name in old.namelist():
                part = old.read(name)
                text = f"({COUNT},".encode()
                if text in part[:128]:
                    longer = part[10:128].replace(text, f"({many},".encode())
                    part = part[:10] + longer.rstrip()[:117].ljust(117) + b"\n" + part[128:]
                new.writestr(name, part)
        content = large.getvalue()
    return content


def _live_on(path: Path, home: Path) -> None:
    """Read a map and work with it as a robot does; a MapError may come of reading it."""
    data = read_map(path, 1e8)
    size = data.descriptors.shape[1]
    query = np.zeros(size, np.float32)
    query[0] = 1.0
    for start in (True, False):
        database = Database(DatabaseConfig(exclude_recent_s=0.0, exclude_recent_keyframes=1))
        if not start:  # with keyframes of its own
            for i in range(3):
                database.add(_keyframe(i, data, query))
        database.load(path)
        detector = LoopDetector(LoopConfig(), database)
        for i in range(4, 6):
            detector.process(_keyframe(i, data, query))
        for id in data.ids.tolist():
            place = database.get(id)
            if place is not None:
                database.search_elsewhere(place, 3)
        database.save(home / "again.vprmap", overwrite=True)
        again = Database(DatabaseConfig())
        assert again.load(home / "again.vprmap") == len(database), "it lost keyframes"


def _keyframe(number: int, data: MapData, query: np.ndarray) -> Keyframe:
    return Keyframe(
        2**62 + number, number * 10**9, data.model, 0.0, query, model_digest=data.model_digest
    )


def mutated_maps(count: int, seed: int = 0) -> dict[str, tuple[int, int]]:
    """By kind of mutation, how many of `count` maps were tried and how many were survived."""
    tally: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    kinds: list[tuple[str, Callable[..., None], bool]] = [
        *((f"raw: {name}", mutate, True) for name, mutate in RAW.items()),
        *((f"semantic: {name}", mutate, False) for name, mutate in SEMANTIC.items()),
    ]
    with tempfile.TemporaryDirectory() as folder:
        home, path = Path(folder), Path(folder) / "sample.vprmap"
        write_map(path, sample_map(COUNT))
        whole = path.read_bytes()
        with np.load(io.BytesIO(whole)) as archive:
            parts = dict(archive.items())
        for number in range(count):
            rng = np.random.default_rng((seed, number))
            name, mutate, raw = kinds[number % len(kinds)]
            if raw:
                content = bytearray(whole)
                mutate(content, rng)
            else:
                altered = {part: array.copy() for part, array in parts.items()}
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # complex to real
                    mutate(altered, rng)
                content = bytearray(_archived(altered, rng))
            path.write_bytes(content)
            tally[name][0] += 1
            tally[name][1] += _survived(path, home, f"{name}, seed {seed}, number {number}")
    return {name: (tried, survived) for name, (tried, survived) in tally.items()}


def _survived(path: Path, home: Path, what: str) -> bool:
    try:
        _live_on(path, home)
    except (MapError, KeyframeError):
        pass
    except Exception:
        print(what, traceback.format_exc(), sep="\n", file=sys.stderr)
        return False
    return True
