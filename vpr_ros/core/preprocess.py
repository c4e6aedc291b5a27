# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image to network input, one way for every model: resize, scale, normalise."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.contract import Contract
from vpr_ros.core.images import Image


def preprocess(image: Image, contract: Contract) -> npt.NDArray[np.float32]:
    """Network input (1, 3, input_height, input_width) of a BGR image (H, W, 3).

    The whole image is kept, its aspect ratio is not: VPR models are trained that way, and a crop
    would throw away the sides, where places differ.
    """
    height, width = contract.input_height, contract.input_width
    shrinking = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    pixels = np.empty((1, 3, height, width), dtype=np.float32)
    for channel, (mean, std) in enumerate(zip(contract.mean, contract.std, strict=True)):
        # One pass per plane: (v / 255 - mean) / std as v * a + b.
        np.multiply(
            resized[:, :, 2 - channel], np.float32(1 / (255 * std)), out=pixels[0, channel]
        )
        pixels[0, channel] -= np.float32(mean / std)
    return pixels
