# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera's calibration: the direction of the ray through each pixel of an image.

Two-view geometry holds for a pinhole camera, so keypoints are moved to where such a camera would
see them, and they carry its matrix.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import CameraError
from vpr_ros.core.keyframe import LocalFeatures

Points = npt.NDArray[np.float32]  # (N, 2) [px]

# Models of sensor_msgs/distortion_models that OpenCV knows, with their numbers of coefficients.
MODELS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),  # Kannala and Brandt's fisheye
    "fisheye": (4,),
}
FISHEYE = ("equidistant", "fisheye")
WIDEST = math.tan(math.radians(75))  # from the axis; farther out a pinhole's image grows fast
ROUND_TRIP = 0.5  # px; a polynomial cannot be undone outside the image it was fitted to


@dataclasses.dataclass(frozen=True, eq=False)
class CameraModel:
    """The calibration of images of one size, or of the same images scaled."""

    matrix: npt.NDArray[np.float64]  # (3, 3) [px]
    distortion: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    model: str = "plumb_bob"  # of the distortion
    size: tuple[int, int] = (0, 0)  # width and height of the images [px]; 0, 0: unknown

    @classmethod
    def of(
        cls,
        *,
        k: Sequence[float],
        d: Sequence[float] = (),
        p: Sequence[float] = (),
        model: str = "",
        size: tuple[int, int] = (0, 0),
        binning: tuple[int, int] = (0, 0),
        roi: tuple[int, int, int, int] = (0, 0, 0, 0),
        rectified: bool = False,
    ) -> CameraModel | None:
        """The camera of a sensor_msgs/CameraInfo; None if it is not calibrated (zeros).

        `size` is the full resolution; `binning` by (x, y) and `roi`, (x, y, width, height) in full
        resolution, lead from it to the image (REP 104). A `rectified` image is described by `p`
        alone. Raises CameraError for impossible values.
        """
        matrix = np.array(k, np.float64).reshape(3, 3)
        if not matrix.any():
            return None
        distortion = np.array(d, np.float64)
        if rectified:
            distortion = np.empty(0)
            projection = np.array(p, np.float64).reshape(3, -1)
            matrix = projection[:, :3] if projection.any() else matrix
        if not np.isfinite(matrix).all() or not np.isfinite(distortion).all():
            raise CameraError("camera_info has values that are not finite. Calibrate the camera.")
        if not distortion.any():
            distortion = np.empty(0)
        elif len(distortion) not in MODELS.get(model, ()):
            raise CameraError(
                f"camera_info has distortion model '{model[:40]}' with {len(distortion)} "
                f"coefficients. Known are {', '.join(MODELS)}; or publish rectified images."
            )
        x, y, width, height = roi
        width, height = width or size[0] - x, height or size[1] - y
        scale = [1 / (number or 1) for number in binning]
        camera = cls(matrix, distortion, model, (width, height) if all(size) else (0, 0))
        moved = matrix.copy()
        moved[:2, 2] -= x, y
        return dataclasses.replace(
            camera,
            matrix=_scaled(moved, *scale),
            size=(round(camera.size[0] * scale[0]), round(camera.size[1] * scale[1])),
        )

    def of_image(self, width: int, height: int) -> CameraModel:
        """The camera scaled to an image of this size [px] with the same field of view.

        Raises CameraError if the aspect ratio differs or the intrinsics do not fit the image.
        """
        own_width, own_height = self.size if all(self.size) else (width, height)
        # Half the rows, rounded, is still the same view.
        if abs(width * own_height - height * own_width) > max(own_width, own_height):
            raise CameraError(
                f"camera_info is for images of {own_width}x{own_height}, the images have "
                f"{width}x{height}, another aspect ratio. Give the camera_info of these images."
            )
        matrix = _scaled(self.matrix, width / own_width, height / own_height)
        focal, centre = (matrix[0, 0], matrix[1, 1]), (matrix[0, 2], matrix[1, 2])
        if not (
            all(width / 20 <= f <= width * 100 for f in focal)
            and 0 <= centre[0] <= width
            and 0 <= centre[1] <= height
        ):
            raise CameraError(
                f"camera_info says focal lengths of {focal[0]:.4g} and {focal[1]:.4g} px and a "
                f"centre at {centre[0]:.4g}, {centre[1]:.4g}, which cannot be for images of "
                f"{width}x{height}. Calibrate the camera."
            )
        return dataclasses.replace(self, matrix=matrix, size=(width, height))

    def undistorted(self, features: LocalFeatures) -> LocalFeatures:
        """Features as a pinhole camera with `matrix` would see them.

        Features far outside its image, or outside the range of the distortion model, are left out.
        Raises CameraError if these are most of them.
        """
        points = features.keypoints
        if not len(self.distortion) or not len(points):
            return dataclasses.replace(features, camera_matrix=self.matrix)
        rays, again = self._rays(points)
        good = (
            np.isfinite(rays).all(axis=1)
            & (np.linalg.norm(rays, axis=1) < WIDEST)
            & (np.abs(again - points).max(axis=1) < ROUND_TRIP)
        )
        if good.mean() < 0.5:
            raise CameraError(
                f"camera_info's distortion describes only {good.mean():.0%} of the image. "
                "Calibrate the camera, or publish rectified images."
            )
        focal, centre = self.matrix[[0, 1], [0, 1]], self.matrix[[0, 1], [2, 2]]
        return dataclasses.replace(
            features,
            keypoints=(rays[good] * focal + centre).astype(np.float32),
            descriptors=features.descriptors[good],
            camera_matrix=self.matrix,
        )

    def undistorted_image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """An image (H, W, 3) of this size as a pinhole camera with `matrix` would see it."""
        if not len(self.distortion):
            return image
        kind: Any = cv2.fisheye if self.model in FISHEYE else cv2
        arguments = self.matrix, self.distortion, np.eye(3), self.matrix, self.size, cv2.CV_16SC2
        first, second = kind.initUndistortRectifyMap(*arguments)
        return np.asarray(cv2.remap(image, first, second, cv2.INTER_LINEAR), np.uint8)

    def _rays(self, points: Points) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Where rays (N, 2) cut the plane at distance 1, and their pixels (N, 2) as a test."""
        seen = points.reshape(-1, 1, 2).astype(np.float64)
        none = np.zeros(3)
        if self.model in FISHEYE:
            rays = cv2.fisheye.undistortPoints(seen, self.matrix, self.distortion)
            again = cv2.fisheye.distortPoints(rays, self.matrix, self.distortion)
        else:
            rays = cv2.undistortPoints(seen, self.matrix, self.distortion)
            ahead = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=2)
            again, _ = cv2.projectPoints(ahead, none, none, self.matrix, self.distortion)
        found: Any = rays.reshape(-1, 2), np.asarray(again).reshape(-1, 2)
        return found[0], found[1]


def is_rectified(topic: str) -> bool:
    """Whether the name of an image topic says that it is rectified (e.g. image_rect_color)."""
    return "rect" in topic.removesuffix("/compressed").rpartition("/")[2]


def _scaled(matrix: npt.NDArray[np.float64], x: float, y: float) -> npt.NDArray[np.float64]:
    """The matrix for an image scaled by (x, y); pixel 0 reaches from -0.5 to 0.5."""
    return np.array(
        [
            [matrix[0, 0] * x, 0.0, (matrix[0, 2] + 0.5) * x - 0.5],
            [0.0, matrix[1, 1] * y, (matrix[1, 2] + 0.5) * y - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
