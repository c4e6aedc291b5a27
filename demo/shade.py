# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Another time of day: how the second lap's pictures differ in tone, colour and sharpness."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Shade:
    """A change of tone, applied the same way to every picture of a lap."""

    gamma: float = 1.0  # above 1 darkens the middle tones
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # B, G, R
    blur_px: float = 0.0  # sigma
    noise: float = 0.0  # sigma in grey levels

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The picture (H, W, 3) uint8 BGR under this light; the noise is drawn from `rng`."""
        tones = np.linspace(0.0, 1.0, 256) ** self.gamma * 255.0
        table = np.clip(np.outer(tones, self.gain).round(), 0, 255).astype(np.uint8)
        shaded = cv2.LUT(image, table[:, np.newaxis, :])
        if self.blur_px > 0.0:
            shaded = cv2.GaussianBlur(shaded, (0, 0), self.blur_px)
        if self.noise > 0.0:
            # Sensor noise; drawn at one channel, it costs a third and looks the same.
            grain = rng.normal(0.0, self.noise, shaded.shape[:2]).astype(np.float32)
            noisy = shaded.astype(np.float32) + grain[..., np.newaxis]
            shaded = np.clip(noisy, 0, 255).astype(np.uint8)
        return np.asarray(shaded)


NOON = Shade()
EVENING = Shade(gamma=1.2, gain=(0.82, 0.95, 1.08), blur_px=0.6, noise=3.0)
SHADES = {1: NOON, 2: EVENING, 3: EVENING}  # by lap
