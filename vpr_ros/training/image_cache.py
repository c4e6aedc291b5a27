# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decoded pictures in memory, small enough that whole sources fit."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.core.images import Image
from vpr_ros.evaluation.datasets.image_set import read_image
from vpr_ros.training.places import PlaceSet, View

SHORT_SIDE = 288  # px; a little more than the largest training size, 266


class ImageCache:
    """Reads pictures, shrunk to a short side, and keeps them up to a limit."""

    def __init__(self, limit_mb: int, short_side: int = SHORT_SIDE) -> None:
        self._left = limit_mb * 10**6
        self._short_side = short_side
        self._held: dict[str, Image] = {}

    def read(self, view: View) -> Image:
        """The picture (H, W, 3) BGR, no copy: do not write into it; ImageError if it is none."""
        if not isinstance(view, str):
            return shrink(view, self._short_side)
        image = self._held.get(view)
        if image is None:
            image = shrink(read_image(Path(view)), self._short_side)
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._held[view] = image
        return image

    def fill(self, places: PlaceSet) -> None:
        """Read the files of a set if about all of them fit; else none, so that work can begin."""
        files = [view for views in places.views for view in views if isinstance(view, str)]
        if not files or len(set(files)) * self.read(files[0]).nbytes > self._left:
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(self.read, dict.fromkeys(files)):
                pass

    def freeze(self) -> None:
        """Keep nothing more: processes that begin now would each keep a copy of their own."""
        self._left = 0


def shrink(image: Image, short_side: int) -> Image:
    """The whole picture with this short side; smaller ones as they are."""
    scale = short_side / min(image.shape[:2])
    if scale >= 1.0:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
