# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A second visit made from one picture: another viewpoint, light, weather, focus and camera.

The steps follow the light: where the camera stands, what stands in its way, the weather, the
light, the lens, the sensor, the file. Everything is OpenCV and numpy on uint8 BGR.
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
from vpr_ros.training.light import day_table, fog, night_table, vignette
from vpr_ros.training.spoil import Noise, blur, jpeg
from vpr_ros.training.viewpoint import Movement, homography

Random = np.random.Generator

LEAST_CONTRAST = 8.0  # grey levels, standard deviation


def _share(default: float, of: str) -> float:
    share: float = param(default, f"Share of the pictures with {of}.", minimum=0.0, maximum=1.0)
    return share


@dataclasses.dataclass(frozen=True)
class AugmentConfig(Config):
    """How often a step happens, and how strong it gets; every draw is uniform up to its limit."""

    viewpoint: float = _share(0.9, "another viewpoint")
    shift_m: float = param(
        0.6, "The camera's shift along each axis, either way.", unit="m", minimum=0.0, maximum=3.0
    )
    near_m: float = param(2.5, "Least distance of the scene.", unit="m", minimum=0.1)
    far_m: float = param(12.0, "Greatest distance of the scene.", unit="m", minimum=0.5)
    yaw_deg: float = param(15.0, "Turn to the side.", unit="degrees", minimum=0.0, maximum=45.0)
    pitch_deg: float = param(4.0, "Tilt.", unit="degrees", minimum=0.0, maximum=30.0)
    roll_deg: float = param(15.0, "Roll.", unit="degrees", minimum=0.0, maximum=45.0)
    zoom: float = param(1.3, "Greatest enlargement, which crops.", minimum=1.0, maximum=4.0)
    occlusion: float = _share(0.3, "up to three rectangles in front")
    occlusion_area: float = param(
        0.12, "Greatest area of one rectangle, of the picture.", minimum=0.0, maximum=0.5
    )
    weather: float = _share(0.12, "fog or rain")
    light: float = _share(0.8, "another light")
    gain_low: float = param(0.4, "Darkest exposure.", minimum=0.05, maximum=1.0)
    gain_high: float = param(2.2, "Brightest exposure.", minimum=1.0, maximum=5.0)
    gamma: float = param(1.5, "Greatest gamma; the least is 1 / gamma.", minimum=1.0, maximum=4.0)
    temperature: float = param(
        0.2, "Greatest gain of red against blue, either way.", minimum=0.0, maximum=0.8
    )
    vignette: float = param(0.5, "Greatest loss of light in the corners.", minimum=0.0, maximum=1)
    night: float = _share(0.1, "night in place of another light: dark, blue and noisy")
    blur: float = _share(0.3, "motion blur, softness or lost focus")
    blur_size: float = param(
        0.04, "Greatest length of a motion blur, of the width.", minimum=0.0, maximum=0.2
    )
    noise: float = param(8.0, "Greatest noise by day, standard deviation.", minimum=0.0)
    jpeg: float = _share(0.3, "JPEG artefacts")
    jpeg_quality: int = param(25, "Least JPEG quality.", minimum=1, maximum=95)

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
        self._noise = Noise()

    def __call__(self, image: Image, random: Random, size: tuple[int, int] | None = None) -> Image:
        """(height, width, 3) uint8 BGR of `image` (H, W, 3); `size` is (height, width)."""
        config, height_width = self._config, size or image.shape[:2]
        seen = self._viewpoint(image, random, height_width)
        if random.random() < config.occlusion:
            seen = _occlude(seen, random, config.occlusion_area)
        if random.random() < config.weather:
            seen = fog(seen, random) if random.random() < 0.5 else self._noise.rain(seen, random)
        night = random.random() < config.night
        if night:
            seen = _u8(cv2.LUT(seen, night_table(random)))
        elif random.random() < config.light:
            gain = (config.gain_low, config.gain_high)
            lit = cv2.LUT(seen, day_table(random, gain, config.gamma, config.temperature))
            if lit[::8, ::8].std() >= LEAST_CONTRAST:  # a white picture is no place
                seen = _u8(lit)
            seen = vignette(seen, random.uniform(0.0, config.vignette))
        if random.random() < config.blur:
            seen = blur(seen, random, config.blur_size)
        deviation = random.uniform(0.0, 2.0 if night else 1.0) * config.noise
        if night or random.random() < 0.5:
            seen = self._noise.grain(seen, random, deviation)
        if random.random() < config.jpeg:
            seen = jpeg(seen, int(random.integers(config.jpeg_quality, 96)))
        return np.ascontiguousarray(seen, dtype=np.uint8)

    def _viewpoint(self, image: Image, random: Random, size: tuple[int, int]) -> Image:
        """Moved and resized in one step, over a first step that takes out what would alias."""
        height, width = size
        grown = (max(1, round(1.25 * height)), max(1, round(1.25 * width)))
        if random.random() >= self._config.viewpoint:  # as the robot's preprocess does
            shrink = image.shape[0] >= height and image.shape[1] >= width
            kind = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
            return _u8(cv2.resize(image, (width, height), interpolation=kind))
        matrix = homography(image.shape[:2], size, _movement(random, self._config))
        if image.shape[0] > grown[0] and image.shape[1] > grown[1]:
            small = cv2.resize(image, (grown[1], grown[0]), interpolation=cv2.INTER_AREA)
            scale = np.diag([image.shape[1] / grown[1], image.shape[0] / grown[0], 1.0])
            image, matrix = _u8(small), matrix @ scale
        border = cv2.BORDER_REFLECT_101 if random.random() < 0.5 else cv2.BORDER_REPLICATE
        return _u8(
            cv2.warpPerspective(
                image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border
            )
        )


def _movement(random: Random, config: AugmentConfig) -> Movement:
    """Somewhere within the limits, before a scene somewhere between near and far."""

    def either_way(limit: float) -> float:
        return random.uniform(-limit, limit)

    # As many scenes between 2 and 4 m as between 4 and 8: near ones are the rule indoors.
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


def _occlude(image: Image, random: Random, area: float) -> Image:
    """Up to three rectangles of one colour each."""
    seen = image.copy()
    height, width = seen.shape[:2]
    for _ in range(random.integers(1, 4)):
        part, aspect = random.uniform(0.01, max(area, 0.01)), math.exp(random.uniform(-1, 1))
        h = min(height, round(math.sqrt(part * aspect) * height))
        w = min(width, round(math.sqrt(part / aspect) * width))
        y, x = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
        seen[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return seen


def _u8(image: npt.NDArray[np.generic]) -> Image:
    return np.asarray(image, dtype=np.uint8)
