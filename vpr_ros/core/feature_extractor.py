# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Local features of an image, for geometric verification."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.images import Image
from vpr_ros.core.keyframe import FEATURE_SIZES, MAX_FEATURES, LocalFeatures

BLACK, WHITE = 5, 250  # grey levels from which on a pixel counts as clipped
FAINTEST = 1.0  # grey level; of weaker details, rounding to whole levels leaves nothing to measure


@dataclasses.dataclass(frozen=True)
class FeatureConfig(Config):
    """Local features for geometric verification."""

    group: ClassVar[str] = "features"

    kind: str = param(
        "sift",
        "local features: sift finds more revisits (10 ms per keyframe on one core); orb is five "
        "times faster and takes a quarter of the memory. A map keeps the kind it was made with",
        choices=tuple(FEATURE_SIZES),
    )
    count: int = param(
        300,
        "maximum number of local features per keyframe, used for geometric verification; 0: none",
        minimum=0,
        maximum=MAX_FEATURES,
    )
    image_width: int = param(
        240,
        "width to which images are scaled, up or down, before features are extracted",
        unit="px",
        minimum=64,
        maximum=4096,
    )


class FeatureExtractor:
    """Extracts keypoints and their descriptors from a scaled image."""

    def __init__(self, config: FeatureConfig) -> None:
        """`config` is fixed for the life of the extractor."""
        self.config = config
        self._detector: Any
        # Lower than OpenCV's 0.04 and 20, for the weak corners of dim and blurred images.
        if config.kind == "sift":
            self._detector = cv2.SIFT.create(nfeatures=config.count, contrastThreshold=0.004)
        else:
            self._detector = cv2.ORB.create(nfeatures=config.count, fastThreshold=5)

    def extract(
        self, image: Image, camera_matrix: npt.NDArray[np.float64] | None = None
    ) -> LocalFeatures | None:
        """Features of a BGR image (H, W, 3) with `camera_matrix` (3, 3); None if turned off.

        Small images are enlarged, because neither kind of feature is found close to the border.
        """
        if self.config.count == 0:
            return None
        scale = self.config.image_width / image.shape[1]
        size = (self.config.image_width, max(1, round(image.shape[0] * scale)))
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        grey = cv2.resize(
            grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
        try:
            keypoints, descriptors = self._detector.detectAndCompute(grey, None)
        except cv2.error:  # the image is too thin for the pyramid
            keypoints, descriptors = (), None
        width = FEATURE_SIZES[self.config.kind]
        if descriptors is None:
            descriptors = np.empty((0, width), np.uint8)
        elif self.config.kind == "sift":
            descriptors = _root_sift(descriptors)
        points = cv2.KeyPoint.convert(keypoints) if keypoints else np.empty((0, 2))
        return LocalFeatures(
            keypoints=np.asarray(points, np.float32).reshape(-1, 2)[: self.config.count]
            / np.float32(scale),
            descriptors=np.asarray(descriptors, np.uint8)[: self.config.count],
            pixel_size=1 / scale,
            camera_matrix=camera_matrix,
            sharpness=_sharpness(grey),
            clipped=float(((grey <= BLACK) | (grey >= WHITE)).mean()),
        )


def _sharpness(grey: npt.NDArray[Any]) -> float:
    """Standard deviation of the details below one pixel over that of those below two.

    About 1.3 in a sharp image, whatever it shows, and 0.5 in one blurred by two pixels; 0 without
    details. The brightness does not matter.
    """
    fine, coarse = (cv2.GaussianBlur(grey.astype(np.float32), (0, 0), s) for s in (1.0, 2.0))
    details = float((fine - coarse).std())
    return float((grey - fine).std()) / details if details > FAINTEST else 0.0


def _root_sift(descriptors: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """SIFT descriptors (N, 128) as square roots of their shares, in 8 bits.

    Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval",
    CVPR 2012: Euclidean distances then compare histograms by the Hellinger kernel.
    """
    shares = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9)
    codes: npt.NDArray[np.uint8] = np.rint(np.minimum(512 * np.sqrt(shares), 255)).astype(np.uint8)
    return codes
