# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Geometric verification: whether two views can show the same rigid scene."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.images import Image
from vpr_ros.core.keyframe import LocalFeatures


@dataclasses.dataclass(frozen=True)
class FeatureConfig(Config):
    """Local features for geometric verification."""

    group: ClassVar[str] = "features"

    count: int = param(
        300,
        "maximum number of ORB features per keyframe, for geometric verification; 0: none",
        minimum=0,
        maximum=5000,
    )
    image_width: int = param(
        320,
        "images wider than this are reduced to it before features are extracted",
        unit="px",
        minimum=64,
        maximum=4096,
    )


class FeatureExtractor:
    """Extracts ORB keypoints from a reduced image."""

    def __init__(self, config: FeatureConfig) -> None:
        """`config` holds for the life of the extractor."""
        self.config = config
        # A quarter of OpenCV's threshold, for the weak corners of dim and blurred images.
        self._orb = cv2.ORB.create(nfeatures=config.count, fastThreshold=5)

    def extract(
        self, image: Image, camera_matrix: npt.NDArray[np.float64] | None = None
    ) -> LocalFeatures | None:
        """Features of a BGR image (H, W, 3) with `camera_matrix` (3, 3); None if turned off."""
        if self.config.count == 0:
            return None
        scale = min(1.0, self.config.image_width / image.shape[1])
        size = (round(image.shape[1] * scale), max(1, round(image.shape[0] * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        try:
            keypoints, descriptors = self._orb.detectAndCompute(grey, None)
        except cv2.error:  # the image is too thin for ORB's pyramid
            keypoints, descriptors = (), None
        if descriptors is None:
            descriptors = np.empty((0, 32), np.uint8)
        points = cv2.KeyPoint.convert(keypoints) if keypoints else np.empty((0, 2))
        return LocalFeatures(
            keypoints=np.asarray(points, np.float32).reshape(-1, 2) / np.float32(scale),
            descriptors=np.asarray(descriptors, np.uint8),
            pixel_size=1 / scale,
            camera_matrix=camera_matrix,
        )


# Chosen on rtabmap_samples and the demo's drive, where they best separate right from wrong.
RATIO = 0.8  # nearest over second nearest distance (Lowe, IJCV 2004, section 7.1)
FARTHEST = 64  # of 256 bits; ORB descriptors of unrelated points are farther apart
TOLERANCE = 1.5  # px of the reduced image


@dataclasses.dataclass(frozen=True)
class RelativePose:
    """Pose of the query camera in the match camera; the distance is unknown."""

    rotation: npt.NDArray[np.float64]  # (3, 3)
    direction: npt.NDArray[np.float64]  # (3,) unit length


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result of geometric verification."""

    inliers: int
    T_match_query: RelativePose | None  # None unless both camera matrices are known


def verify(query: LocalFeatures, match: LocalFeatures) -> Verification:
    """Count the correspondences that fit one epipolar geometry.

    RANSAC (OpenCV's USAC, with a confidence of 0.999) estimates the essential matrix if both
    camera matrices are known, otherwise the fundamental matrix. Fewer than 8 correspondences
    count as none.
    """
    pairs = _correspondences(query, match)
    if len(pairs) < 8:
        return Verification(0, None)
    tolerance_px = TOLERANCE * max(query.pixel_size, match.pixel_size)
    try:
        return _fit(query, match, pairs, tolerance_px)
    except cv2.error:  # USAC asserts if no model fits any of its samples
        return Verification(0, None)


def _fit(
    query: LocalFeatures, match: LocalFeatures, pairs: npt.NDArray[np.int64], tolerance_px: float
) -> Verification:
    points_query, points_match = query.keypoints[pairs[:, 0]], match.keypoints[pairs[:, 1]]
    if query.camera_matrix is None or match.camera_matrix is None:
        _, mask = cv2.findFundamentalMat(
            points_query, points_match, cv2.USAC_FAST, tolerance_px, 0.999
        )
        return Verification(0 if mask is None else int(mask.sum()), None)
    rays_query = _normalised(points_query, query.camera_matrix)
    rays_match = _normalised(points_match, match.camera_matrix)
    essential, mask = cv2.findEssentialMat(
        rays_query,
        rays_match,
        np.eye(3),
        cv2.USAC_FAST,
        0.999,
        tolerance_px / match.camera_matrix[0, 0],
    )
    if essential is None or essential.shape != (3, 3) or mask is None:
        return Verification(0, None)
    inliers = int(mask.sum())
    _, rotation, direction, _ = cv2.recoverPose(
        essential, rays_query, rays_match, np.eye(3), mask=mask.copy()
    )
    return Verification(
        inliers,
        RelativePose(np.asarray(rotation, np.float64), np.asarray(direction, np.float64)[:, 0]),
    )


def _correspondences(query: LocalFeatures, match: LocalFeatures) -> npt.NDArray[np.int64]:
    """Indices (M, 2) of query and match keypoints with clearly similar descriptors."""
    if not len(query.descriptors) or len(match.descriptors) < 2:
        return np.empty((0, 2), np.int64)
    nearest = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(query.descriptors, match.descriptors, k=2)
    return np.array(
        [
            (first.queryIdx, first.trainIdx)
            for first, second in nearest
            if first.distance < RATIO * second.distance and first.distance <= FARTHEST
        ],
        np.int64,
    ).reshape(-1, 2)


def _normalised(
    points: npt.NDArray[np.float32], camera_matrix: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Pixels (M, 2) projected to the image plane at distance 1."""
    focal = camera_matrix[[0, 1], [0, 1]]
    centre = camera_matrix[[0, 1], [2, 2]]
    rays: npt.NDArray[np.float64] = (points.astype(np.float64) - centre) / focal
    return rays
