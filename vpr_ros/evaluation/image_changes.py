# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Controlled changes of an image: what a robot's camera meets on its second visit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from vpr_ros.core.images import Image

DARKER = 0.5
BRIGHTER = 2.0
BLUR = 1 / 160  # deviation of the Gaussian over the image's width: 4 px of 640
TURN_DEG = 15.0  # counter-clockwise


@dataclasses.dataclass(frozen=True)
class Change:
    """One change, the same for every image of whatever size."""

    name: str
    words: str
    apply: Callable[[Image], Image]  # BGR (H, W, 3) to the same shape; may return its argument


def scale(image: Image, factor: float) -> Image:
    """All values times a factor; what exceeds 255 is lost, as in an overexposed image."""
    return np.asarray(np.clip(np.rint(image * np.float32(factor)), 0, 255), np.uint8)


def blur(image: Image) -> Image:
    """As out of focus."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR * image.shape[1]), dtype=np.uint8)


def turn(image: Image) -> Image:
    """Rolled about the optical axis; the corners that come into view are mirrored content.

    Black corners would be a mark of the change itself, and cropping them away would zoom.
    """
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), TURN_DEG, 1.0)
    turned = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, dtype=np.uint8)


AS_TAKEN = Change("as taken", "nothing changed", lambda image: image)
CHANGES = (
    Change("darker", f"values times {DARKER:g}", lambda image: scale(image, DARKER)),
    Change(
        "brighter",
        f"values times {BRIGHTER:g}, cut off at 255",
        lambda image: scale(image, BRIGHTER),
    ),
    Change("blurred", f"Gaussian of 1/{1 / BLUR:.0f} of the width", blur),
    Change("turned", f"rolled by {TURN_DEG:g} degrees, mirrored corners", turn),
)
