# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages to pixels: cv_bridge where it can, the core's table for the rest."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from vpr_ros.core import images

# Encodings of 8 bits that every cv_bridge converts to bgr8, with their bytes a pixel. PyPI's port
# lacks bayer_grbg8 by a misspelling, and none knows nv12; those go through the core's table.
BRIDGED = {
    "bgr8": 3,
    "rgb8": 3,
    "bgra8": 4,
    "rgba8": 4,
    "mono8": 1,
    "bayer_rggb8": 1,
    "bayer_bggr8": 1,
    "bayer_gbrg8": 1,
}


class ImageDecoder:
    """Decodes raw and compressed images to BGR (H, W, 3) uint8."""

    def __init__(self) -> None:
        """Use cv_bridge if one that works is installed; `status` says which way is taken."""
        self._bridge, self.status = _load_bridge()

    def decode(self, message: Image | CompressedImage) -> images.Image:
        """Pixels of a message; raises ImageError with the reason if there are none."""
        if isinstance(message, CompressedImage):
            return images.decode_compressed(message.data, message.format)
        if self._bridge is not None and _is_plain(message):
            pixels = self._bridge.imgmsg_to_cv2(message, "bgr8")
            return np.asarray(pixels, np.uint8)
        return images.decode_raw(
            message.data,
            height=message.height,
            width=message.width,
            encoding=message.encoding,
            step=message.step,
            is_bigendian=bool(message.is_bigendian),
        )


def _is_plain(message: Image) -> bool:
    """An encoding that cv_bridge knows, in rows without padding, of the promised length.

    PyPI's port overlooks padding, and reads past a message that is too short only to fail with
    an error that does not say so.
    """
    row = message.width * BRIDGED.get(message.encoding, 0)
    return bool(
        row
        and message.height
        and message.step == row
        and len(message.data) == row * message.height
    )


def _load_bridge() -> tuple[Any, str]:
    try:
        module = importlib.import_module("cv_bridge")
        if int(np.__version__.split(".")[0]) >= 2 and _is_compiled():
            # ros-perception/vision_opencv#535: it was built against NumPy 1 and crashes.
            return None, "cv_bridge from apt does not work with NumPy 2; using OpenCV directly"
        return module.CvBridge(), "cv_bridge"
    except Exception as error:  # a broken cv_bridge fails in many ways; the core can do without
        return None, f"cv_bridge is not usable ({error}); using OpenCV directly"


def _is_compiled() -> bool:
    path = importlib.import_module("cv_bridge.boost.cv_bridge_boost").__file__
    return bool(path) and not str(path).endswith(".py")
