# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A keyframe as the encoder makes it, as the database stores it, and as a search returns it."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import numpy.typing as npt

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.pose import Pose

NS_PER_S = 1_000_000_000

COUNTER_BITS = 23  # a keyframe id is 40 random bits of a run, then the number in the run
FEATURE_SIZES = {"sift": 128, "orb": 32}  # bytes of a local feature's descriptor, by kind

# Limits on what arrives, from messages and in maps.
MAX_FEATURES = 5000  # of a keyframe; comparing two sets takes time with their product
MAX_THUMBNAIL = 65_536  # bytes
MAX_TEXT = 256  # characters of a frame's or model's name
MAX_STAMP_NS = 2**31 * NS_PER_S  # a ROS time ends in 2038

# Size of a Place object with its numbers and strings but without arrays (sys.getsizeof).
PLACE_BYTES = 600


def random_first_id() -> int:
    """A keyframe id to begin a run with, below 2**63 and never 0.

    The clock cannot provide one: two encoders may start in the same second, and a robot without a
    battery for its clock starts every day at the same time. A thousand runs in one map share an id
    with a probability of one in two million.
    """
    return int.from_bytes(os.urandom(5), "big") << COUNTER_BITS | 1


def run_of(id: int) -> int:
    """The run of an encoder that a keyframe id belongs to."""
    return id >> COUNTER_BITS


@dataclasses.dataclass(frozen=True, eq=False)
class LocalFeatures:
    """Keypoints of one view, for geometric verification.

    A keyframe has None if no features were extracted, and no keypoints if the image has no corner.
    """

    keypoints: npt.NDArray[np.float32]  # (N, 2) x, y [px of the camera image]
    descriptors: npt.NDArray[np.uint8]  # (N, S), S as in FEATURE_SIZES
    pixel_size: float = 1.0  # camera pixels per pixel of the reduced image searched
    camera_matrix: npt.NDArray[np.float64] | None = None  # (3, 3); None: unknown
    # Of the scaled image: strength of its finest details over that of details twice as large, and
    # the share of its pixels that are black or white.
    sharpness: float = 0.0  # 0: unknown
    clipped: float = 0.0

    @property
    def kind(self) -> str:
        """The kind of the descriptors, a key of FEATURE_SIZES; "" if it is none of them."""
        sizes = {size: kind for kind, size in FEATURE_SIZES.items()}
        return sizes.get(self.descriptors.shape[1], "")

    @property
    def nbytes(self) -> int:
        """Memory of the arrays [bytes]."""
        return self.keypoints.nbytes + self.descriptors.nbytes


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """A small picture of the view, for people only; it has no effect on decisions."""

    jpeg: bytes
    image_width: int  # of the camera image that it shows [px]


@dataclasses.dataclass(frozen=True)
class Keyframe:
    """A view worth remembering: one encoded image."""

    id: int
    stamp_ns: int
    model: str
    sparsity: float
    descriptor: npt.NDArray[np.float32]  # (D,) unit length
    frame: str = ""  # of the camera
    pose: Pose | None = None
    pose_frame: str = ""  # of `pose`
    features: LocalFeatures | None = None
    calibration: Calibration = dataclasses.field(default_factory=Calibration)
    model_digest: str = ""  # of the model's weights; empty: not known
    thumbnail: Thumbnail | None = None
    provider: str = ""  # onnxruntime's, that ran the model; empty: not known


@dataclasses.dataclass(frozen=True)
class Place:
    """A keyframe in the database, without its descriptor, which is in the index."""

    sequence: int  # order of arrival
    session: int  # rises when time jumps back and when a map is loaded
    id: int
    stamp_ns: int
    sparsity: float
    frame: str
    pose: Pose | None
    pose_frame: str
    features: LocalFeatures | None
    thumbnail: Thumbnail | None = None
    provider: str = ""  # that ran the model; of an older map perhaps several

    @classmethod
    def of(cls, keyframe: Keyframe, sequence: int, session: int) -> Place:
        """The place of a keyframe."""
        return cls(
            sequence=sequence,
            session=session,
            id=keyframe.id,
            stamp_ns=keyframe.stamp_ns,
            sparsity=keyframe.sparsity,
            frame=keyframe.frame,
            pose=keyframe.pose,
            pose_frame=keyframe.pose_frame,
            features=keyframe.features,
            thumbnail=keyframe.thumbnail,
            provider=keyframe.provider,
        )

    def is_connected(self, other: Place) -> bool:
        """Whether odometry connects two places: it begins anew in each session."""
        return (
            self.session == other.session
            and self.pose is not None
            and other.pose is not None
            and self.pose_frame == other.pose_frame
        )

    @property
    def nbytes(self) -> int:
        """Memory without the descriptor [bytes]."""
        texts = len(self.frame) + len(self.pose_frame)
        picture = len(self.thumbnail.jpeg) if self.thumbnail else 0
        return PLACE_BYTES + texts + picture + (self.features.nbytes if self.features else 0)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A place found by a search."""

    place: Place
    score: float  # cosine
