# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A second visit made from one picture: another viewpoint, light, weather, focus and camera.

The steps follow the light: camera pose, occlusion, weather, illumination, lens, sensor, file.
Everything is OpenCV and numpy on uint8 BGR.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.images import Image
from vpr_ros.training.image_effects import (
    Random,
    as_image,
    blur,
    day_table,
    fog,
    grain,
    jpeg,
    night_table,
    occlude,
    rain,
    vignette,
)

LEAST_CONTRAST = 8.0  # grey levels, standard deviation
FIELD_OF_VIEW_DEG = 70.0  # across; phones and robot cameras have 60 to 90

Matrix = npt.NDArray[np.float64]


def _share(default: float, of: str) -> float:
    share: float = param(default, f"Share of the pictures with {of}.", minimum=0.0, maximum=1.0)
    return share


@dataclasses.dataclass(frozen=True)
class AugmentConfig(Config):
    """Probability and limit of every step; strengths are drawn uniformly up to the limit."""

    viewpoint: float = _share(0.9, "another viewpoint")
    shift_m: float = param(
        0.6, "Largest shift along each axis.", unit="m", minimum=0.0, maximum=3.0
    )
    near_m: float = param(2.5, "Smallest distance of the scene.", unit="m", minimum=0.1)
    far_m: float = param(12.0, "Largest distance of the scene.", unit="m", minimum=0.5)
    yaw_deg: float = param(15.0, "Largest turn.", unit="degrees", minimum=0.0, maximum=45.0)
    pitch_deg: float = param(4.0, "Largest tilt.", unit="degrees", minimum=0.0, maximum=30.0)
    roll_deg: float = param(15.0, "Largest roll.", unit="degrees", minimum=0.0, maximum=45.0)
    zoom: float = param(1.3, "Largest magnification, which crops.", minimum=1.0, maximum=4.0)
    occlusion: float = _share(0.3, "up to three rectangles in front")
    occlusion_area: float = param(0.12, "Largest area of a rectangle.", minimum=0.0, maximum=0.5)
    weather: float = _share(0.12, "fog or rain")
    light: float = _share(0.8, "different light")
    gain_low: float = param(0.4, "Darkest exposure.", minimum=0.05, maximum=1.0)
    gain_high: float = param(2.2, "Brightest exposure.", minimum=1.0, maximum=5.0)
    gamma: float = param(1.5, "Largest gamma; smallest: its inverse.", minimum=1.0, maximum=4.0)
    temperature: float = param(0.2, "Largest gain of red over blue.", minimum=0.0, maximum=0.8)
    vignette: float = param(0.5, "Largest loss of light in the corners.", minimum=0.0, maximum=1)
    night: float = _share(0.1, "night instead of different light: dark, blue or yellow, noisy")
    blur: float = _share(0.3, "motion blur, softness or lost focus")
    blur_size: float = param(0.04, "Largest blur, share of the width.", minimum=0.0, maximum=0.2)
    noise: float = param(8.0, "Largest noise by day, standard deviation.", minimum=0.0)
    jpeg: float = _share(0.3, "JPEG artefacts")
    jpeg_quality: int = param(25, "Lowest JPEG quality.", minimum=1, maximum=95)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.near_m > self.far_m:
            raise ConfigError(
                f"Parameter 'near_m' is {self.near_m:g}; give at most 'far_m' ({self.far_m:g})."
            )


class Augmenter:
    """Makes another visit of a picture; the same generator state gives the same picture."""

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config

    def __call__(self, image: Image, random: Random, size: tuple[int, int] | None = None) -> Image:
        """(height, width, 3) uint8 BGR of `image` (H, W, 3); `size` is (height, width)."""
        config, height_width = self._config, size or image.shape[:2]
        seen = self._viewpoint(image, random, height_width)
        if random.random() < config.occlusion:
            seen = occlude(seen, random, config.occlusion_area)
        if random.random() < config.weather:
            seen = fog(seen, random) if random.random() < 0.5 else rain(seen, random)
        night = random.random() < config.night
        if night:
            seen = as_image(cv2.LUT(seen, night_table(random)))
        elif random.random() < config.light:
            gain = (config.gain_low, config.gain_high)
            lit = cv2.LUT(seen, day_table(random, gain, config.gamma, config.temperature))
            if lit[::8, ::8].std() >= LEAST_CONTRAST:  # an all-white picture shows nothing
                seen = as_image(lit)
            seen = vignette(seen, random.uniform(0.0, config.vignette))
        if random.random() < config.blur:
            seen = blur(seen, random, config.blur_size)
        deviation = random.uniform(0.0, 2.0 if night else 1.0) * config.noise
        if night or random.random() < 0.5:
            seen = grain(seen, random, deviation)
        if random.random() < config.jpeg:
            seen = jpeg(seen, int(random.integers(config.jpeg_quality, 96)))
        return np.ascontiguousarray(seen, dtype=np.uint8)

    def _viewpoint(self, image: Image, random: Random, size: tuple[int, int]) -> Image:
        """Warp and resize in one step, after a coarse reduction that prevents aliasing."""
        height, width = size
        grown = (max(1, round(1.25 * height)), max(1, round(1.25 * width)))
        if random.random() >= self._config.viewpoint:  # like the robot's preprocessing
            shrink = image.shape[0] >= height and image.shape[1] >= width
            kind = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
            return as_image(cv2.resize(image, (width, height), interpolation=kind))
        matrix = homography(image.shape[:2], size, _movement(random, self._config))
        if image.shape[0] > grown[0] and image.shape[1] > grown[1]:
            small = cv2.resize(image, (grown[1], grown[0]), interpolation=cv2.INTER_AREA)
            scale = np.diag([image.shape[1] / grown[1], image.shape[0] / grown[0], 1.0])
            image, matrix = as_image(small), matrix @ scale
        border = cv2.BORDER_REFLECT_101 if random.random() < 0.5 else cv2.BORDER_REPLICATE
        return as_image(
            cv2.warpPerspective(
                image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border
            )
        )


def _movement(random: Random, config: AugmentConfig) -> Movement:
    """A random movement within the limits, in front of a scene between near and far."""

    def either_way(limit: float) -> float:
        return random.uniform(-limit, limit)

    # Log-uniform: as many scenes at 2 to 4 m as at 4 to 8 m, since indoors most are near.
    distance_m = math.exp(random.uniform(math.log(config.near_m), math.log(config.far_m)))
    return Movement(
        (either_way(config.shift_m), either_way(config.shift_m) / 4, either_way(config.shift_m)),
        distance_m,
        slant_deg=either_way(30.0),
        yaw_deg=either_way(config.yaw_deg),
        pitch_deg=either_way(config.pitch_deg),
        roll_deg=either_way(config.roll_deg),
        zoom=random.uniform(1.0, config.zoom),
    )


@dataclasses.dataclass(frozen=True)
class Movement:
    """From one camera to the other; x right, y down, z forward. The scene is one plane."""

    shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    distance_m: float = 5.0  # of the plane
    slant_deg: float = 0.0  # of the plane, about the vertical axis; few walls are faced squarely
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    zoom: float = 1.0


def homography(source: tuple[int, int], target: tuple[int, int], move: Movement) -> Matrix:
    """Matrix (3, 3) from pixels of a `source` (height, width) picture to those of the `target`.

    H = K' (R - t n^T / d) K^-1 (Hartley and Zisserman, Multiple View Geometry, eq. 13.2). The
    target shows the same field of view over its whole size, divided by `zoom`.
    """
    height, width = source
    focal = width / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    turn = _about(2, move.roll_deg) @ _about(0, move.pitch_deg) @ _about(1, move.yaw_deg)
    slant = math.radians(move.slant_deg)
    normal = np.array([math.sin(slant), 0.0, math.cos(slant)])
    shift = turn @ np.array(move.shift_m)
    plane: Matrix = turn - np.outer(shift, normal) / move.distance_m
    zoomed = camera @ np.diag([move.zoom, move.zoom, 1.0])
    resize = np.diag([target[1] / width, target[0] / height, 1.0])
    found: Matrix = resize @ zoomed @ plane @ np.linalg.inv(camera)
    return found


def _about(axis: int, degrees: float) -> Matrix:
    """Rotation matrix (3, 3) about one axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = c
    matrix[first, second], matrix[second, first] = -s, s
    return matrix
