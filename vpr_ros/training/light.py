# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The light of another visit: by day, at night, in fog, and what the lens does to it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from vpr_ros.core.images import Image

Random = np.random.Generator
Table = npt.NDArray[np.uint8]  # (256, 1, 3): new values of blue, green and red, for cv2.LUT


def day_table(
    random: Random, gain: tuple[float, float], gamma: float, temperature: float
) -> Table:
    """Exposure within `gain`, gamma within [1 / gamma, gamma], red against blue."""
    exposure = math.exp(random.uniform(math.log(gain[0]), math.log(gain[1])))
    warm = random.uniform(-temperature, temperature)
    tint = np.array([1.0 - warm / 2, 1.0, 1.0 + warm / 2])
    return _table(exposure * tint, gamma ** random.uniform(-1.0, 1.0))


def night_table(random: Random) -> Table:
    """Little light, and that either of the sky (blue) or of lamps (yellow)."""
    tint = np.array([1.15, 1.0, 0.85]) if random.random() < 0.5 else np.array([0.7, 1.0, 1.2])
    return _table(random.uniform(0.12, 0.4) * tint, random.uniform(1.0, 1.4))


def fog(image: Image, random: Random) -> Image:
    """Air light (Koschmieder 1924), densest at a random height, where the scene is far away."""
    rows = np.abs(np.linspace(0.0, 1.0, image.shape[0]) - random.uniform(0.2, 0.6))
    share = random.uniform(0.3, 0.8) * np.exp(-1.5 * rows)  # (H,)
    return _scale(image, 1.0 - share[:, None], random.uniform(150.0, 235.0) * share[:, None])


def vignette(image: Image, loss: float) -> Image:
    """Darker towards the corners, which lose `loss` of their light."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1.0, 1.0, height)[:, None], np.linspace(-1.0, 1.0, width)
    return _scale(image, 1.0 - loss / 2 * (x * x + y * y), np.zeros((1, 1)))


def _table(gain: npt.NDArray[np.float64], gamma: float) -> Table:
    values = (np.arange(256) / 255.0)[:, None] ** gamma * gain * 255.0
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)[:, None, :]


def _scale(image: Image, gain: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]) -> Image:
    """gain * image + offset per pixel, in whole numbers; it must stay within [0, 255]."""
    factor, added = (np.round(256 * part).astype(np.uint16)[..., None] for part in (gain, offset))
    return ((image * factor + added) >> 8).astype(np.uint8)
