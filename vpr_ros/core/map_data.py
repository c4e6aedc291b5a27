# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes as arrays, and the schema that every map and every new keyframe must meet."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ImageError, KeyframeError
from vpr_ros.core.image_files import check_thumbnail
from vpr_ros.core.keyframe import (
    FEATURE_SIZES,
    MAX_FEATURES,
    MAX_STAMP_NS,
    MAX_TEXT,
    MAX_THUMBNAIL,
    Keyframe,
    LocalFeatures,
    Place,
    Thumbnail,
)
from vpr_ros.core.pose import FARTHEST_M, Pose

MAX_DESCRIPTOR = 65_536  # values
MAX_SPAN = 2**40  # of sequence and session numbers in one map: 1000 years at 30 Hz
MAX_PROVIDERS = 16  # of one map
MAX_PIXEL = 1e6  # px, of a keypoint or in a camera matrix
MAX_PIXEL_SIZE = 1e4
MAX_SHARPNESS = 1e4
_NO_THUMBNAIL = Thumbnail(b"", 0)


@dataclasses.dataclass(frozen=True)
class MapData:
    """N keyframes as arrays; a row of NaN is a missing pose or camera matrix."""

    model: str
    model_digest: str  # of its weights; empty: not known
    names: tuple[str, ...]  # of frames, indexed by `frames`
    ids: npt.NDArray[np.uint64]  # (N,) unique
    sequence: npt.NDArray[np.int64]  # (N,) order of arrival, rising
    sessions: npt.NDArray[np.int64]  # (N,)
    stamps_ns: npt.NDArray[np.int64]  # (N,)
    sparsity: npt.NDArray[np.float32]  # (N,)
    frames: npt.NDArray[np.int64]  # (N, 2) camera frame, pose frame
    poses: npt.NDArray[np.float64]  # (N, 7) x y z qx qy qz qw
    descriptors: npt.NDArray[Any]  # (N, D) float16 or float32, unit length
    feature_counts: npt.NDArray[np.int64]  # (N,) -1: none stored
    keypoints: npt.NDArray[np.float32]  # (sum of counts, 2)
    feature_sizes: npt.NDArray[np.int64]  # (N,) bytes of a descriptor, as in FEATURE_SIZES
    feature_descriptors: npt.NDArray[np.uint8]  # (sum of counts x sizes,)
    pixel_sizes: npt.NDArray[np.float32]  # (N,) NaN: no features
    camera_matrices: npt.NDArray[np.float64]  # (N, 3, 3)
    sharpness: npt.NDArray[np.float32]  # (N,) 0: unknown
    clipped: npt.NDArray[np.float32]  # (N,)
    thumbnail_sizes: npt.NDArray[np.int64]  # (N,) bytes, 0: none
    thumbnails: npt.NDArray[np.uint8]  # (sum of sizes,) JPEGs
    image_widths: npt.NDArray[np.int64]  # (N,) [px] of the images that the thumbnails show
    links: npt.NDArray[np.int64]  # (M, 2) closed loops, by sequence: older, newer
    providers: tuple[str, ...] = ()  # of onnxruntime, that ran the model; (): not known


# Types and shapes of the arrays: N keyframes; any other letter may be any number.
ARRAYS: Mapping[str, tuple[tuple[str, ...], tuple[int | str, ...]]] = {
    "ids": (("<u8",), ("N",)),
    "sequence": (("<i8",), ("N",)),
    "sessions": (("<i8",), ("N",)),
    "stamps_ns": (("<i8",), ("N",)),
    "sparsity": (("<f4",), ("N",)),
    "frames": (("<i8",), ("N", 2)),
    "poses": (("<f8",), ("N", 7)),
    "descriptors": (("<f2", "<f4"), ("N", "D")),
    "feature_counts": (("<i8",), ("N",)),
    "keypoints": (("<f4",), ("K", 2)),
    "feature_sizes": (("<i8",), ("N",)),
    "feature_descriptors": (("|u1",), ("B",)),
    "pixel_sizes": (("<f4",), ("N",)),
    "camera_matrices": (("<f8",), ("N", 3, 3)),
    "sharpness": (("<f4",), ("N",)),
    "clipped": (("<f4",), ("N",)),
    "thumbnail_sizes": (("<i8",), ("N",)),
    "thumbnails": (("|u1",), ("T",)),
    "image_widths": (("<i8",), ("N",)),
    "links": (("<i8",), ("M", 2)),
}


def pack(
    model: str,
    places: Sequence[Place],
    descriptors: npt.NDArray[Any],
    links: Sequence[tuple[int, int]],
    model_digest: str = "",
    join: Callable[[list[npt.NDArray[Any]]], Any] = np.concatenate,
) -> MapData:
    """The map of N places, their descriptors (N, D) and M links between sequence numbers.

    `join` concatenates the feature arrays of the keyframes.
    """
    providers = {one for p in places for one in p.provider.split(", ")}
    names = sorted({n for p in places for n in (p.frame, p.pose_frame)})
    index = {name: i for i, name in enumerate(names)}
    frames = [(index[p.frame], index[p.pose_frame]) for p in places]
    features = [p.features for p in places if p.features is not None]
    counts = [len(p.features.keypoints) if p.features else -1 for p in places]
    pictures = [p.thumbnail or _NO_THUMBNAIL for p in places]
    return MapData(
        model=model,
        model_digest=model_digest,
        names=tuple(names),
        providers=tuple(sorted(filter(None, providers))[:MAX_PROVIDERS]),
        ids=np.array([p.id for p in places], np.uint64),
        sequence=np.array([p.sequence for p in places], np.int64),
        sessions=np.array([p.session for p in places], np.int64),
        stamps_ns=np.array([p.stamp_ns for p in places], np.int64),
        sparsity=np.array([p.sparsity for p in places], np.float32),
        frames=np.array(frames, np.int64).reshape(-1, 2),
        poses=np.array([_pose_row(p.pose) for p in places]).reshape(-1, 7),
        descriptors=descriptors,
        feature_counts=np.array(counts, np.int64),
        keypoints=join([np.empty((0, 2), np.float32), *(f.keypoints for f in features)]),
        feature_sizes=np.array(
            [p.features.descriptors.shape[1] if p.features else 0 for p in places], np.int64
        ),
        feature_descriptors=join(
            [np.empty(0, np.uint8), *(f.descriptors.ravel() for f in features)]
        ),
        pixel_sizes=np.array(
            [p.features.pixel_size if p.features else np.nan for p in places], np.float32
        ),
        camera_matrices=np.array([_matrix(p.features) for p in places]).reshape(-1, 3, 3),
        sharpness=np.array(
            [p.features.sharpness if p.features else 0 for p in places], np.float32
        ),
        clipped=np.array([p.features.clipped if p.features else 0 for p in places], np.float32),
        thumbnail_sizes=np.array([len(t.jpeg) for t in pictures], np.int64),
        thumbnails=join([np.frombuffer(t.jpeg, np.uint8) for t in (_NO_THUMBNAIL, *pictures)]),
        image_widths=np.array([t.image_width for t in pictures], np.int64),
        links=np.array(links, np.int64).reshape(-1, 2),
    )


def unpack(
    data: MapData, rows: Iterable[int], sequence: int = 0, session: int = 0
) -> Iterator[Place]:
    """The places in these rows of a map, their numbers raised by `sequence` and `session`."""
    counts = data.feature_counts.clip(min=0)
    ends = counts.cumsum()
    bytes_end = (counts * data.feature_sizes).cumsum()
    pictures_end = data.thumbnail_sizes.cumsum()
    provider = ", ".join(data.providers)
    for row in map(int, rows):
        camera, fixed = data.frames[row]
        yield Place(
            sequence=int(data.sequence[row]) + sequence,
            session=int(data.sessions[row]) + session,
            id=int(data.ids[row]),
            stamp_ns=int(data.stamps_ns[row]),
            sparsity=float(data.sparsity[row]),
            frame=data.names[camera],
            pose=_pose(data.poses[row]),
            pose_frame=data.names[fixed],
            features=_features(data, row, int(ends[row]), int(bytes_end[row])),
            thumbnail=_thumbnail(data, row, int(pictures_end[row])),
            provider=provider,
        )


def with_free_ids(data: MapData, taken: Mapping[int, int]) -> MapData:
    """The map with new ids for keyframes whose id belongs to another keyframe.

    `taken` gives the stamps [ns] of the ids in use; both copies of one keyframe have the same
    stamp. Encoders used to count ids from the second of their start, which two of them may share.
    The new ids are deterministic, so loading a map twice changes nothing.
    """
    ids = data.ids.copy()
    used = set(data.ids.tolist())
    for row, (id, stamp_ns) in enumerate(zip(data.ids.tolist(), data.stamps_ns, strict=True)):
        if taken.get(id, stamp_ns) != stamp_ns:
            while id in used:  # more than once only in a map that was made for it
                digest = hashlib.sha256(f"{id} {stamp_ns}".encode()).digest()
                id = int.from_bytes(digest[:8], "big") >> 1
            ids[row] = id
            used.add(id)
    return dataclasses.replace(data, ids=ids)


def check_array(name: str, dtype: str, shape: tuple[int, ...], keyframes: int) -> None:
    """Raise ValueError unless an array of a map has an allowed type and shape."""
    dtypes, wanted = ARRAYS[name]
    named = {"N": keyframes}
    fits = len(shape) == len(wanted) and all(
        have == named.get(want, have) if isinstance(want, str) else have == want
        for have, want in zip(shape, wanted, strict=True)
    )
    if dtype not in dtypes or not fits:
        text = ", ".join(str(named.get(str(n), n)) for n in wanted)
        raise ValueError(
            f"{name} is {dtype} {shape} for {keyframes} keyframes, not {'/'.join(dtypes)} ({text})"
        )


def check_keyframe(keyframe: Keyframe) -> None:
    """Raise KeyframeError unless `check` accepts every value of a keyframe."""
    row, place = keyframe.descriptor[np.newaxis], Place.of(keyframe, 0, 0)
    try:
        check(pack(keyframe.model, [place], row, (), keyframe.model_digest))
    except (ValueError, OverflowError) as error:
        raise KeyframeError(
            f"Keyframe {keyframe.id} was refused: {error}. Check what publishes it."
        ) from None


def check(data: MapData) -> None:
    """Raise ValueError unless every value of a map is valid for a database."""
    for name in ARRAYS:
        array = getattr(data, name)
        check_array(name, array.dtype.str, array.shape, len(data.ids))
    with np.errstate(all="ignore"):  # hostile numbers overflow, and then fit in no range
        _check_rows(data)
        _check_features(data)
    _check_thumbnails(data)
    _check_links(data)


def _check_rows(data: MapData) -> None:
    if len(data.names) > 2 * len(data.ids):
        raise ValueError(f"{len(data.names)} names of frames")
    if len(data.providers) > MAX_PROVIDERS:
        raise ValueError(f"{len(data.providers)} providers")
    for text in (data.model, data.model_digest, *data.names, *data.providers):
        _check_text(text)
    if len(np.unique(data.ids)) != len(data.ids):
        raise ValueError("an id occurs twice")
    for name in ("sequence", "sessions"):
        numbers = getattr(data, name)
        _require((numbers > -MAX_SPAN) & (numbers < MAX_SPAN), f"{name} is out of range")
    if not (np.diff(data.sequence) > 0).all():
        raise ValueError("sequence is out of order")
    _require((data.stamps_ns >= 0) & (data.stamps_ns < MAX_STAMP_NS), "the stamp is out of range")
    _require((data.sparsity >= 0) & (data.sparsity <= 1), "the sparsity is not in [0, 1]")
    _require(
        ((data.frames >= 0) & (data.frames < len(data.names))).all(axis=1), "the frame has no name"
    )
    turns = np.sqrt((data.poses[:, 3:] ** 2).sum(axis=1))
    possible = (np.abs(data.poses[:, :3]) <= FARTHEST_M).all(axis=1) & (turns > 0.5) & (turns < 2)
    _require(possible | np.isnan(data.poses).all(axis=1), "the pose is not valid")
    size = data.descriptors.shape[1]
    if not 0 < size <= MAX_DESCRIPTOR:
        raise ValueError(f"descriptors have {size} values")
    squares = np.einsum("nd,nd->n", data.descriptors, data.descriptors, dtype=np.float32)
    _require((squares > 0.98) & (squares < 1.02), "the descriptor is not of unit length")


def _check_features(data: MapData) -> None:
    counts, sizes = data.feature_counts, data.feature_sizes
    _require((counts >= -1) & (counts <= MAX_FEATURES), "the number of features is out of range")
    there = counts >= 0
    known = np.isin(sizes, list(FEATURE_SIZES.values()))
    _require(known | ~there & (sizes == 0), "the size of a feature's descriptor is unknown")
    counts = counts.clip(min=0)
    if len(data.keypoints) != counts.sum():
        raise ValueError(f"{len(data.keypoints)} keypoints for a count of {counts.sum()}")
    if len(data.feature_descriptors) != (counts * sizes).sum():
        raise ValueError(f"{len(data.feature_descriptors)} bytes of feature descriptors")
    if not (np.abs(data.keypoints) <= MAX_PIXEL).all():
        raise ValueError("a keypoint is outside any image")
    scaled = (data.pixel_sizes > 0) & (data.pixel_sizes <= MAX_PIXEL_SIZE)
    _require(scaled | ~there, "the pixel size of the features is out of range")
    sharp = (data.sharpness >= 0) & (data.sharpness <= MAX_SHARPNESS)
    _require(sharp, "the sharpness of the image is out of range")
    share = (data.clipped >= 0) & (data.clipped <= 1)
    _require(share, "the share of clipped pixels is not in [0, 1]")
    matrices = data.camera_matrices
    unknown = np.isnan(matrices).all(axis=(1, 2))
    _require(is_camera_matrix(matrices) | unknown, "the camera matrix is not that of a camera")


def _check_thumbnails(data: MapData) -> None:
    sizes, widths = data.thumbnail_sizes, data.image_widths
    _require((sizes >= 0) & (sizes <= MAX_THUMBNAIL), "the size of the thumbnail is out of range")
    if len(data.thumbnails) != sizes.sum():
        raise ValueError(f"{len(data.thumbnails)} bytes of thumbnails for {sizes.sum()}")
    _require(
        (widths > 0) & (widths <= MAX_PIXEL) | (sizes == 0), "the image width is out of range"
    )
    for row, end in enumerate(sizes.cumsum()):
        if sizes[row]:
            try:
                check_thumbnail(data.thumbnails[end - sizes[row] : end].tobytes())
            except ImageError as error:
                raise ValueError(str(error).rstrip(".")) from None


def is_camera_matrix(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which of the matrices (..., 3, 3) have the form K = [[f, s, c], [0, f, c], [0, 0, 1]]."""
    focal = np.stack([matrix[..., 0, 0], matrix[..., 1, 1]], axis=-1)
    inside = (np.abs(matrix) <= MAX_PIXEL).all(axis=(-2, -1)) & (focal > 0).all(axis=-1)
    form = (matrix[..., 1, 0] == 0) & (matrix[..., 2, :] == (0, 0, 1)).all(axis=-1)
    return np.asarray(inside & form)


def _check_links(data: MapData) -> None:
    older, newer = data.links.T
    if not (older < newer).all() or not np.isin(data.links, data.sequence).all():
        raise ValueError("a link does not lead from a keyframe to a newer one")


def _check_text(text: str) -> None:
    if not isinstance(text, str) or len(text) > MAX_TEXT or "\0" in text:
        raise ValueError(f"{str(text)[:20]!r}... is no name of at most {MAX_TEXT} characters")
    text.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError


def _require(right: Any, complaint: str) -> None:
    if not right.all():
        where = f", in row {int(np.argmin(right))}" if len(right) > 1 else ""
        raise ValueError(complaint + where)


def _pose_row(pose: Pose | None) -> tuple[float, ...]:
    if pose is None:
        return (np.nan,) * 7
    return pose.x, pose.y, pose.z, pose.qx, pose.qy, pose.qz, pose.qw


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
        camera_matrix=None if np.isnan(matrix).any() else matrix.copy(),
        sharpness=float(data.sharpness[row]),
        clipped=float(data.clipped[row]),
    )


def _thumbnail(data: MapData, row: int, end: int) -> Thumbnail | None:
    size = int(data.thumbnail_sizes[row])
    jpeg = data.thumbnails[end - size : end].tobytes()
    return Thumbnail(jpeg, int(data.image_widths[row])) if size else None
