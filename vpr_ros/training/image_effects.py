# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Light, weather, blur, noise and compression, as functions on BGR pictures."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.images import Image

Random = np.random.Generator
Table = npt.NDArray[np.uint8]  # (256, 1, 3): new values of blue, green and red, for cv2.LUT

SIDE, GRAIN = 512, 32.0  # of the stored noise: pixels, standard deviation


def day_table(
    random: Random, gain: tuple[float, float], gamma: float, temperature: float
) -> Table:
    """Exposure within `gain`, gamma within [1 / gamma, gamma], red against blue."""
    exposure = math.exp(random.uniform(math.log(gain[0]), math.log(gain[1])))
    warm = random.uniform(-temperature, temperature)
    tint = np.array([1.0 - warm / 2, 1.0, 1.0 + warm / 2])
    return _table(exposure * tint, gamma ** random.uniform(-1.0, 1.0))


def night_table(random: Random) -> Table:
    """Little light, coloured by the sky (blue) or by lamps (yellow)."""
    tint = np.array([1.15, 1.0, 0.85]) if random.random() < 0.5 else np.array([0.7, 1.0, 1.2])
    return _table(random.uniform(0.12, 0.4) * tint, random.uniform(1.0, 1.4))


def fog(image: Image, random: Random) -> Image:
    """Air light (Koschmieder 1924), densest around a random row, where the scene is far away."""
    rows = np.abs(np.linspace(0.0, 1.0, image.shape[0]) - random.uniform(0.2, 0.6))
    share = random.uniform(0.3, 0.8) * np.exp(-1.5 * rows)  # (H,)
    return _scale(image, 1.0 - share[:, None], random.uniform(150.0, 235.0) * share[:, None])


def rain(image: Image, random: Random) -> Image:
    """Bright streaks: the peaks of noise, smeared in one direction."""
    height = image.shape[0]
    noise = _noise(image.shape[:2], random)[0][:, :, 0]
    drops = cv2.threshold(noise, 2.6 * GRAIN, 255, cv2.THRESH_BINARY)[1]
    length = max(3, round(random.uniform(0.03, 0.1) * height))
    light = random.uniform(0.2, 0.5) * length  # filters spread a drop's light over its streak
    streaks = cv2.filter2D(drops, -1, light * _line(length, random.uniform(70, 110)))
    dull = cv2.convertScaleAbs(image, alpha=random.uniform(0.6, 0.9), beta=15)
    return as_image(cv2.add(dull, cv2.merge([streaks] * 3)))


def vignette(image: Image, loss: float) -> Image:
    """Darker towards the corners, which lose `loss` of their light."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1.0, 1.0, height)[:, None], np.linspace(-1.0, 1.0, width)
    return _scale(image, 1.0 - loss / 2 * (x * x + y * y), np.zeros((1, 1)))


def occlude(image: Image, random: Random, area: float) -> Image:
    """Up to three rectangles of one colour each, of at most `area` of the picture."""
    seen = image.copy()
    height, width = seen.shape[:2]
    for _ in range(random.integers(1, 4)):
        part, aspect = random.uniform(0.01, max(area, 0.01)), math.exp(random.uniform(-1, 1))
        h = min(height, round(math.sqrt(part * aspect) * height))
        w = min(width, round(math.sqrt(part / aspect) * width))
        y, x = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
        seen[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return seen


def blur(image: Image, random: Random, size: float) -> Image:
    """Motion blur, a soft lens, or lost focus, over at most `size` of the width."""
    length = max(3.0, random.uniform(0.0, size) * image.shape[1])
    kind = random.integers(3)
    if kind == 0:
        kernel = _line(round(length), random.uniform(0.0, 180.0))
        return as_image(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE))
    if kind == 1:
        return as_image(cv2.GaussianBlur(image, (0, 0), length / 4.0))
    side = round(length / 2) * 2 + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
    return as_image(cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE))


def grain(image: Image, random: Random, deviation: float) -> Image:
    """The picture with normal noise of this standard deviation."""
    more, less = _noise(image.shape[:2], random)
    brighter = cv2.add(image, cv2.convertScaleAbs(more, alpha=deviation / GRAIN))
    return as_image(cv2.subtract(brighter, cv2.convertScaleAbs(less, alpha=deviation / GRAIN)))


def jpeg(image: Image, quality: int) -> Image:
    """The picture after JPEG compression of this quality."""
    code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return as_image(cv2.imdecode(code, cv2.IMREAD_COLOR))


def as_image(image: npt.NDArray[np.generic]) -> Image:
    """OpenCV's result with the type of an image."""
    return np.asarray(image, dtype=np.uint8)


def _table(gain: npt.NDArray[np.float64], gamma: float) -> Table:
    values = (np.arange(256) / 255.0)[:, None] ** gamma * gain * 255.0
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)[:, None, :]


def _scale(image: Image, gain: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]) -> Image:
    """gain * image + offset per pixel, in integers; the result must stay within [0, 255]."""
    factor, added = (np.round(256 * part).astype(np.uint16)[..., None] for part in (gain, offset))
    return ((image * factor + added) >> 8).astype(np.uint8)


def _line(length: int, angle_deg: float) -> npt.NDArray[np.float32]:
    """A filter kernel that smears over `length` pixels; its sum is one."""
    side = length | 1
    middle, reach = side // 2, length / 2.0
    dx, dy = reach * math.cos(math.radians(angle_deg)), reach * math.sin(math.radians(angle_deg))
    kernel = np.zeros((side, side), np.float32)
    ends = [(round(middle - s * dx), round(middle - s * dy)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return kernel / kernel.sum()


def _noise(size: tuple[int, int], random: Random) -> tuple[Image, Image]:
    """The same random part of both halves of the stored noise, (height, width, 3)."""
    height, width = size
    below, right = max(0, height - SIDE), max(0, width - SIDE)
    y = random.integers(max(1, SIDE - height + 1))
    x = random.integers(max(1, SIDE - width + 1))
    tiles = (
        cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_WRAP) if below or right else tile
        for tile in _noise_tiles()
    )
    more, less = (as_image(tile[y : y + height, x : x + width]) for tile in tiles)
    return more, less


@lru_cache(maxsize=1)
def _noise_tiles() -> tuple[Image, Image]:
    """Positive and negative parts of normal noise, as bytes, which OpenCV adds fastest.

    Drawn once: drawing noise for every picture would take longer than all other effects.
    """
    noise = np.random.default_rng(1).normal(0.0, GRAIN, (SIDE, SIDE, 3))
    more, less = (np.clip(part, 0, 255).astype(np.uint8) for part in (noise, -noise))
    return more, less
