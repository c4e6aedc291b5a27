# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a keyframe holds beside its descriptor, as bounded text: pose, local features, picture."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import FleetError, KeyframeError
from vpr_ros.core.keyframe import (
    MAX_FEATURES,
    MAX_TEXT,
    MAX_THUMBNAIL,
    Keyframe,
    LocalFeatures,
    Thumbnail,
)
from vpr_ros.core.map_data import check_keyframe
from vpr_ros.core.pose import Pose
from vpr_ros.fleet.fleet import MAX_LINKS, Entry, FleetKeyframe, weights_of

MAX_PAYLOAD = 65_535  # characters, the most that a VARCHAR of Milvus holds
MAX_INFLATED = MAX_FEATURES * (8 + 128) + 16 * MAX_TEXT + 2 * MAX_THUMBNAIL  # bytes

DAMAGE = (
    KeyframeError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    RecursionError,
    zlib.error,
)


def encode(item: FleetKeyframe) -> str:
    """The payload, without the thumbnail if it does not fit beside the local features.

    Of more local features than fit (about 500 of SIFT) the last ones are cut.
    """
    if item.payload:
        return item.payload
    keyframe, features = item.keyframe, item.keyframe.features
    while True:
        text = _text(keyframe, features, item.links)
        if len(text) <= MAX_PAYLOAD:
            return text
        if keyframe.thumbnail is not None:
            keyframe = dataclasses.replace(keyframe, thumbnail=None)
            continue
        assert features is not None
        count = int(0.95 * len(features.keypoints) * MAX_PAYLOAD / len(text))
        features = dataclasses.replace(
            features,
            keypoints=features.keypoints[:count],
            descriptors=features.descriptors[:count],
        )


def decode(entry: Entry, payload: str, descriptor: npt.NDArray[np.float32]) -> FleetKeyframe:
    """The keyframe; FleetError if the payload is damaged or holds what a keyframe cannot have."""
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(payload, validate=True), MAX_INFLATED)
        head, _, arrays = data.partition(b"\n")
        values = json.loads(head)
        keyframe = Keyframe(
            id=entry.id,
            stamp_ns=entry.stamp_ns,
            model=str(values["model"]),
            sparsity=float(values["sparsity"]),
            descriptor=np.asarray(descriptor, np.float32),
            frame=str(values["frame"]),
            pose=None if values["pose"] is None else Pose(*map(float, values["pose"])),
            pose_frame=str(values["pose_frame"]),
            features=_features(values["features"], arrays),
            model_digest=str(values["digest"]),
            thumbnail=_thumbnail(values.get("thumbnail")),
            provider=str(values.get("provider", "")),
        )
        links = tuple(int(id) for id in values["links"][:MAX_LINKS])
        check_keyframe(keyframe)
        if weights_of(keyframe.model, keyframe.model_digest) != entry.model:
            raise ValueError("it names another model than its row")
    except DAMAGE as error:
        raise FleetError(
            f"Keyframe {entry.id} of robot '{entry.robot}' in the fleet is damaged ({error}) and "
            "was left out; its robot can send it again with `vpr map push`."
        ) from None
    return FleetKeyframe(entry.robot, entry.map, keyframe, links, payload)


def _text(keyframe: Keyframe, features: LocalFeatures | None, links: tuple[int, ...]) -> str:
    described: dict[str, Any] | None = None
    arrays = b""
    if features is not None:
        matrix = features.camera_matrix
        described = {
            "count": len(features.keypoints),
            "size": features.descriptors.shape[1],
            "pixel_size": features.pixel_size,
            "camera_matrix": None if matrix is None else matrix.ravel().tolist(),
            "sharpness": features.sharpness,
            "clipped": features.clipped,
        }
        arrays = features.keypoints.astype("<f4").tobytes() + features.descriptors.tobytes()
    picture = keyframe.thumbnail
    head = {
        "model": keyframe.model,
        "digest": keyframe.model_digest,
        "sparsity": keyframe.sparsity,
        "frame": keyframe.frame,
        "pose": None if keyframe.pose is None else dataclasses.astuple(keyframe.pose),
        "pose_frame": keyframe.pose_frame,
        "features": described,
        "links": links[:MAX_LINKS],
        "thumbnail": picture and [picture.image_width, base64.b64encode(picture.jpeg).decode()],
        "provider": keyframe.provider,
    }
    return base64.b64encode(zlib.compress(json.dumps(head).encode() + b"\n" + arrays, 1)).decode()


def _thumbnail(written: Any) -> Thumbnail | None:
    if written is None:
        return None
    width, jpeg = written
    return Thumbnail(base64.b64decode(jpeg, validate=True), int(width))


def _features(described: Any, arrays: bytes) -> LocalFeatures | None:
    if described is None:
        return None
    count, size = int(described["count"]), int(described["size"])
    if not 0 <= count <= MAX_FEATURES or len(arrays) != count * (8 + size):
        raise ValueError(f"{len(arrays)} bytes for {count} local features")
    matrix = described["camera_matrix"]
    return LocalFeatures(
        keypoints=np.frombuffer(arrays, "<f4", 2 * count).reshape(count, 2).astype(np.float32),
        descriptors=np.frombuffer(arrays, np.uint8, offset=8 * count).reshape(count, size).copy(),
        pixel_size=float(described["pixel_size"]),
        camera_matrix=None if matrix is None else np.array(matrix, np.float64).reshape(3, 3),
        sharpness=float(described.get("sharpness", 0.0)),  # younger than the first payloads
        clipped=float(described.get("clipped", 0.0)),
    )
