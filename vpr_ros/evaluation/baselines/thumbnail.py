# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The simplest descriptor that works: a small image whose patches have one brightness."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.images import Image

WIDTH, HEIGHT, PATCH = 64, 32, 8  # px, as in SeqSLAM (Milford and Wyeth, ICRA 2012)
FLAT = 1.0  # grey levels of deviation below which a patch counts as blank


class Thumbnail:
    """Patch-normalised thumbnail, 64x32 px in patches of 8x8 (Milford and Wyeth, ICRA 2012).

    Compared by cosine instead of absolute differences, so that it runs in the same search.
    """

    name = "thumbnail"
    sparsity_max = 0.0

    def learn(self, images: Sequence[Image]) -> None:
        """Nothing to learn."""

    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """Unit descriptor (2048,) of a BGR image; zeros for a blank one."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        rows, columns = HEIGHT // PATCH, WIDTH // PATCH
        patches = small.astype(np.float32).reshape(rows, PATCH, columns, PATCH)
        centred = patches - patches.mean(axis=(1, 3), keepdims=True)
        deviation = patches.std(axis=(1, 3), keepdims=True)
        values = np.where(deviation < FLAT, 0, centred / np.maximum(deviation, FLAT)).ravel()
        return (values / max(float(np.linalg.norm(values)), 1e-12)).astype(np.float32)
