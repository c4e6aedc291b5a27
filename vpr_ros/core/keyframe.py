# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A remembered view: what the encoder gives and the database keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from vpr_ros.core.contract import Calibration
from vpr_ros.core.pose import Pose

NS_PER_S = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class LocalFeatures:
    """Keypoints of one view, for geometric verification."""

    keypoints: npt.NDArray[np.float32]  # (N, 2) x, y [px of the camera image]
    descriptors: npt.NDArray[np.uint8]  # (N, 32) ORB
    pixel_size: float = 1.0  # camera pixels per pixel of the reduced image they were found in
    camera_matrix: npt.NDArray[np.float64] | None = None  # (3, 3) or unknown

    @property
    def nbytes(self) -> int:
        """Memory of the arrays [bytes]."""
        return self.keypoints.nbytes + self.descriptors.nbytes


@dataclasses.dataclass(frozen=True)
class Keyframe:
    """One encoded view."""

    id: int
    stamp_ns: int
    model: str
    sparsity: float
    descriptor: npt.NDArray[np.float32]  # (D,) unit length
    frame: str = ""  # of the camera
    pose: Pose | None = None
    pose_frame: str = ""  # in which `pose` is given
    features: LocalFeatures | None = None
    calibration: Calibration = dataclasses.field(default_factory=Calibration)
