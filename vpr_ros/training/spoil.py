# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What spoils a picture on its way: drops, movement, focus, the sensor's noise, the file."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.images import Image

Random = np.random.Generator

SIDE, GRAIN = 512, 32.0  # of the stored noise: pixels, standard deviation


class Noise:
    """Noise that is drawn once: drawing it for every picture would take longer than all else."""

    def __init__(self) -> None:
        self._more, self._less = _tiles()

    def grain(self, image: Image, random: Random, deviation: float) -> Image:
        """The picture with normal noise of this standard deviation."""
        more, less = self._cut(image.shape[:2], random)
        brighter = cv2.add(image, cv2.convertScaleAbs(more, alpha=deviation / GRAIN))
        return _u8(cv2.subtract(brighter, cv2.convertScaleAbs(less, alpha=deviation / GRAIN)))

    def rain(self, image: Image, random: Random) -> Image:
        """Bright streaks: the peaks of noise, drawn out in one direction."""
        height = image.shape[0]
        noise = self._cut(image.shape[:2], random)[0][:, :, 0]
        drops = cv2.threshold(noise, 2.6 * GRAIN, 255, cv2.THRESH_BINARY)[1]
        length = max(3, round(random.uniform(0.03, 0.1) * height))
        light = random.uniform(0.2, 0.5) * length  # filters spread a drop's light over its streak
        streaks = cv2.filter2D(drops, -1, light * _line(length, random.uniform(70, 110)))
        dull = cv2.convertScaleAbs(image, alpha=random.uniform(0.6, 0.9), beta=15)
        return _u8(cv2.add(dull, cv2.merge([streaks] * 3)))

    def _cut(self, size: tuple[int, int], random: Random) -> tuple[Image, Image]:
        """The same part of both halves of the noise, (height, width, 3)."""
        height, width = size
        below, right = max(0, height - SIDE), max(0, width - SIDE)
        y = random.integers(max(1, SIDE - height + 1))
        x = random.integers(max(1, SIDE - width + 1))
        tiles = (
            cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_WRAP)
            if below or right
            else tile
            for tile in (self._more, self._less)
        )
        more, less = (_u8(tile[y : y + height, x : x + width]) for tile in tiles)
        return more, less


@lru_cache(maxsize=1)
def _tiles() -> tuple[Image, Image]:
    """Positive and negative parts of normal noise, as bytes: OpenCV adds bytes fastest."""
    noise = np.random.default_rng(1).normal(0.0, GRAIN, (SIDE, SIDE, 3))
    more, less = (np.clip(part, 0, 255).astype(np.uint8) for part in (noise, -noise))
    return more, less


def blur(image: Image, random: Random, size: float) -> Image:
    """One of three: the camera moved, the lens is soft, the focus is wrong."""
    length = max(3.0, random.uniform(0.0, size) * image.shape[1])
    kind = random.integers(3)
    if kind == 0:
        kernel = _line(round(length), random.uniform(0.0, 180.0))
        return _u8(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE))
    if kind == 1:
        return _u8(cv2.GaussianBlur(image, (0, 0), length / 4.0))
    side = round(length / 2) * 2 + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
    return _u8(cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE))


def jpeg(image: Image, quality: int) -> Image:
    """The picture as a file of this quality gives it back."""
    code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return _u8(cv2.imdecode(code, cv2.IMREAD_COLOR))


def _line(length: int, angle_deg: float) -> npt.NDArray[np.float32]:
    """A filter kernel that smears over `length` pixels; its sum is one."""
    side = length | 1
    middle, reach = side // 2, length / 2.0
    dx, dy = reach * math.cos(math.radians(angle_deg)), reach * math.sin(math.radians(angle_deg))
    kernel = np.zeros((side, side), np.float32)
    ends = [(round(middle - s * dx), round(middle - s * dy)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return kernel / kernel.sum()


def _u8(image: npt.NDArray[np.generic]) -> Image:
    return np.asarray(image, dtype=np.uint8)
