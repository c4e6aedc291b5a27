# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image messages to arrays, and arrays to network input.

Robot and evaluation decode through this table, so that evaluation sees what the robot sees.
Decoded images are (H, W, 3) uint8 in BGR order; grey images are repeated in all three channels.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.contract import Contract
from vpr_ros.core.errors import ImageError

Image = npt.NDArray[np.uint8]  # (H, W, 3) BGR
Buffer = bytes | bytearray | memoryview | array | npt.NDArray[np.uint8]  # type: ignore[type-arg]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How an encoding is laid out in memory, and the cv2 code that converts it to BGR."""

    values: int  # per pixel; in planar formats, of the first plane
    to_bgr: int | None
    dtype: str = "u1"
    rows: tuple[int, int] = (1, 1)  # ratio of rows in memory to image rows
    even: tuple[int, int] = (1, 1)  # height and width must be multiples of these


# ROS names a Bayer pattern by its first two rows, OpenCV by the second and third pixels of the
# second row, so rggb is BG in OpenCV.
ENCODINGS: dict[str, _Layout] = {
    "bgr8": _Layout(3, None),
    "rgb8": _Layout(3, cv2.COLOR_RGB2BGR),
    "bgra8": _Layout(4, cv2.COLOR_BGRA2BGR),
    "rgba8": _Layout(4, cv2.COLOR_RGBA2BGR),
    "mono8": _Layout(1, cv2.COLOR_GRAY2BGR),
    "mono16": _Layout(1, cv2.COLOR_GRAY2BGR, dtype="u2"),
    "8UC1": _Layout(1, cv2.COLOR_GRAY2BGR),
    "8UC3": _Layout(3, None),
    "bayer_rggb8": _Layout(1, cv2.COLOR_BayerBG2BGR, even=(2, 2)),
    "bayer_bggr8": _Layout(1, cv2.COLOR_BayerRG2BGR, even=(2, 2)),
    "bayer_gbrg8": _Layout(1, cv2.COLOR_BayerGR2BGR, even=(2, 2)),
    "bayer_grbg8": _Layout(1, cv2.COLOR_BayerGB2BGR, even=(2, 2)),
    "yuv422": _Layout(2, cv2.COLOR_YUV2BGR_UYVY, even=(1, 2)),
    "uyvy": _Layout(2, cv2.COLOR_YUV2BGR_UYVY, even=(1, 2)),
    "yuv422_yuy2": _Layout(2, cv2.COLOR_YUV2BGR_YUY2, even=(1, 2)),
    "yuyv": _Layout(2, cv2.COLOR_YUV2BGR_YUY2, even=(1, 2)),
    "nv12": _Layout(1, cv2.COLOR_YUV2BGR_NV12, rows=(3, 2), even=(2, 2)),
    "nv21": _Layout(1, cv2.COLOR_YUV2BGR_NV21, rows=(3, 2), even=(2, 2)),
}


def decode_raw(
    data: Buffer, *, height: int, width: int, encoding: str, step: int, is_bigendian: bool = False
) -> Image:
    """Decode the fields of a sensor_msgs/Image.

    `step` is the length of a row in bytes, padding included. `height` counts image rows, also for
    nv12 and nv21, which have half as many rows again in memory. mono16 is scaled by 255/65535.

    Raises ImageError for an unknown encoding, an empty image, or data that does not match the
    size.
    """
    layout = ENCODINGS.get(encoding)
    if layout is None:
        raise ImageError(
            f"Image encoding '{encoding}' is not supported. Publish one of "
            f"{', '.join(ENCODINGS)}, or a CompressedImage."
        )
    _check_size(height, width, encoding, layout)
    dtype = np.dtype(layout.dtype).newbyteorder(">" if is_bigendian else "<")
    row_bytes = width * layout.values * dtype.itemsize
    rows = height * layout.rows[0] // layout.rows[1]
    raw = np.frombuffer(data, dtype=np.uint8)
    if step < row_bytes:
        raise ImageError(
            f"Image step is {step} bytes, but a row of {width} px in {encoding} has {row_bytes}. "
            "Check the camera driver."
        )
    # The last row may come without padding.
    if raw.size < step * (rows - 1) + row_bytes:
        raise ImageError(
            f"Image data has {raw.size} bytes, but {width}x{height} {encoding} with step {step} "
            f"needs {step * rows}. The message was cut short or its size is wrong."
        )
    bytes_ = np.lib.stride_tricks.as_strided(
        raw, shape=(rows, row_bytes), strides=(step, 1), writeable=False
    )
    pixels: npt.NDArray[Any] = np.ascontiguousarray(bytes_).view(dtype)
    if layout.values > 1:
        pixels = pixels.reshape(rows, width, layout.values)
    if dtype.itemsize == 2:
        pixels = cv2.convertScaleAbs(pixels.astype(np.uint16), alpha=255.0 / 65535.0)
    return pixels if layout.to_bgr is None else _as_image(cv2.cvtColor(pixels, layout.to_bgr))


def decode_compressed(data: Buffer, format: str = "") -> Image:
    """Decode the fields of a sensor_msgs/CompressedImage (JPEG or PNG).

    Raises ImageError for depth images, unknown formats and truncated files: decoders fill the
    missing part with grey, which would be matched as if it had been seen.
    """
    if "compressedDepth" in format:
        raise ImageError(
            f"Compressed image has format '{format}', a depth image. Subscribe to the colour one."
        )
    raw = np.frombuffer(data, dtype=np.uint8)
    head, tail = raw[:8].tobytes(), _end(raw)
    if head.startswith(b"\xff\xd8"):
        complete = b"\xff\xd9" in tail
    elif head == b"\x89PNG\r\n\x1a\n":
        complete = b"IEND" in tail
    else:
        raise ImageError(
            f"Compressed image of {raw.size} bytes (format '{format}') is neither JPEG nor PNG. "
            "Set the publisher to jpeg or png."
        )
    if not complete:
        raise ImageError(
            f"Compressed image of {raw.size} bytes (format '{format}') is cut short. "
            "Check the link or the driver."
        )
    # The orientation tag is ignored, as image_transport's decoders do; otherwise the same place
    # would look different when a phone is held another way.
    try:
        pixels = cv2.imdecode(raw, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # a damaged header that promises gigapixels
        pixels = None
    if pixels is None:
        raise ImageError(
            f"Compressed image of {raw.size} bytes (format '{format}') cannot be decoded. "
            "Check the link or the driver."
        )
    return _as_image(pixels)


def preprocess(image: Image, contract: Contract) -> npt.NDArray[np.float32]:
    """Network input (1, 3, input_height, input_width) of an image (H, W, 3).

    The whole image is kept but not its aspect ratio: VPR models are trained that way, and a crop
    would discard the sides, where places differ.
    """
    pixels = resized(image, contract.input_height, contract.input_width)
    return normalised(pixels, contract.mean, contract.std)[np.newaxis]


def resized(image: Image, height: int, width: int) -> Image:
    """The whole image at another size; every pixel counts when it shrinks."""
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return _as_image(cv2.resize(image, (width, height), interpolation=interpolation))


def normalised(
    image: Image, mean: Sequence[float], std: Sequence[float]
) -> npt.NDArray[np.float32]:
    """Planes (3, H, W) in RGB order: (image / 255 - mean) / std."""
    planes = np.empty((3, *image.shape[:2]), dtype=np.float32)
    for channel, (offset, scale) in enumerate(zip(mean, std, strict=True)):
        # One pass per plane: (v / 255 - mean) / std as v * a + b.
        np.multiply(image[:, :, 2 - channel], np.float32(1 / (255 * scale)), out=planes[channel])
        planes[channel] -= np.float32(offset / scale)
    return planes


def _end(raw: npt.NDArray[np.uint8]) -> bytes:
    """The last bytes of a file, without the zeros that cameras pad their buffers with."""
    filled = raw.tobytes().rstrip(b"\0")
    return filled[-64:]


def _as_image(pixels: npt.NDArray[Any]) -> Image:
    assert pixels.dtype == np.uint8 and pixels.ndim == 3
    return pixels


def _check_size(height: int, width: int, encoding: str, layout: _Layout) -> None:
    if height <= 0 or width <= 0:
        raise ImageError(f"Image is empty ({width}x{height}). Check the camera driver.")
    if height % layout.even[0] or width % layout.even[1]:
        raise ImageError(
            f"Image of {width}x{height} cannot be {encoding}, whose height and width are "
            f"multiples of {layout.even[0]} and {layout.even[1]}."
        )
