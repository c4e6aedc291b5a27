# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Raw images to arrays, and arrays to network input.

Robot and evaluation decode through this table, so that both see the same images. Decoded images
are (H, W, 3) uint8 in BGR order; grey images are repeated in all three channels.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.contract import Contract
from vpr_ros.core.errors import ImageError
from vpr_ros.core.value_range import ValueRange

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


MAX_MEGAPIXELS = 32.0
MAX_ASPECT = 20  # a strip of one pixel's width would be scaled to a picture of gigabytes


@dataclasses.dataclass(frozen=True)
class ImageConfig(Config):
    """Which images are accepted."""

    group: ClassVar[str] = "image"

    max_megapixels: float = param(
        MAX_MEGAPIXELS,
        "larger images are refused before they are decoded",
        unit="million px",
        minimum=0.01,
        maximum=1000.0,
    )
    thumbnail: int = param(
        160,
        "longer side of the thumbnail in each keyframe (about 4 kB), which is saved in maps and "
        "shows what a closure saw; 0: no thumbnail",
        unit="px",
        minimum=0,
        maximum=640,
    )


# ROS names a Bayer pattern by its first two rows, OpenCV by the second and third pixels of the
# second row, so rggb is BG in OpenCV.
ENCODINGS: dict[str, _Layout] = {
    "bgr8": _Layout(3, None),
    "rgb8": _Layout(3, cv2.COLOR_RGB2BGR),
    "bgra8": _Layout(4, cv2.COLOR_BGRA2BGR),
    "rgba8": _Layout(4, cv2.COLOR_RGBA2BGR),
    "mono8": _Layout(1, cv2.COLOR_GRAY2BGR),
    "mono16": _Layout(1, cv2.COLOR_GRAY2BGR, dtype="u2"),
    "bgr16": _Layout(3, None, dtype="u2"),
    "rgb16": _Layout(3, cv2.COLOR_RGB2BGR, dtype="u2"),
    "8UC1": _Layout(1, cv2.COLOR_GRAY2BGR),
    "8UC3": _Layout(3, None),
    "bayer_rggb8": _Layout(1, cv2.COLOR_BayerBG2BGR, even=(2, 2)),
    "bayer_bggr8": _Layout(1, cv2.COLOR_BayerRG2BGR, even=(2, 2)),
    "bayer_gbrg8": _Layout(1, cv2.COLOR_BayerGR2BGR, even=(2, 2)),
    "bayer_grbg8": _Layout(1, cv2.COLOR_BayerGB2BGR, even=(2, 2)),
    "bayer_rggb16": _Layout(1, cv2.COLOR_BayerBG2BGR, dtype="u2", even=(2, 2)),
    "bayer_bggr16": _Layout(1, cv2.COLOR_BayerRG2BGR, dtype="u2", even=(2, 2)),
    "bayer_gbrg16": _Layout(1, cv2.COLOR_BayerGR2BGR, dtype="u2", even=(2, 2)),
    "bayer_grbg16": _Layout(1, cv2.COLOR_BayerGB2BGR, dtype="u2", even=(2, 2)),
    "yuv422": _Layout(2, cv2.COLOR_YUV2BGR_UYVY, even=(1, 2)),
    "uyvy": _Layout(2, cv2.COLOR_YUV2BGR_UYVY, even=(1, 2)),
    "yuv422_yuy2": _Layout(2, cv2.COLOR_YUV2BGR_YUY2, even=(1, 2)),
    "yuyv": _Layout(2, cv2.COLOR_YUV2BGR_YUY2, even=(1, 2)),
    "nv12": _Layout(1, cv2.COLOR_YUV2BGR_NV12, rows=(3, 2), even=(2, 2)),
    "nv21": _Layout(1, cv2.COLOR_YUV2BGR_NV21, rows=(3, 2), even=(2, 2)),
}


def decode_raw(
    data: Buffer,
    *,
    height: int,
    width: int,
    encoding: str,
    step: int,
    is_bigendian: bool = False,
    values: ValueRange | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Image:
    """Decode the fields of a sensor_msgs/Image.

    `step` is the length of a row in bytes, including padding. `height` counts image rows, also for
    nv12 and nv21, which have half as many rows again in memory. `values` is the range of 16-bit
    images; without it, the range of this image is used.

    Raises ImageError for an unknown encoding, an empty image, one above `max_megapixels`, or data
    that does not match the size.
    """
    layout = ENCODINGS.get(encoding)
    if layout is None:
        raise unsupported(encoding, f"Image encoding '{quoted(encoding)}' is not supported")
    check_size(height, width, max_megapixels)
    if height % layout.even[0] or width % layout.even[1]:
        raise ImageError(
            f"Image of {width}x{height} cannot be {encoding}, whose height and width are "
            f"multiples of {layout.even[0]} and {layout.even[1]}."
        )
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
        pixels = (values or ValueRange()).to_8_bits(pixels.astype(np.uint16))
    if encoding.startswith("bayer_"):
        return demosaiced(pixels, encoding)
    return _as_image(pixels if layout.to_bgr is None else cv2.cvtColor(pixels, layout.to_bgr))


def demosaiced(mosaic: npt.NDArray[np.uint8], encoding: str) -> Image:
    """The colours of a Bayer mosaic (H, W) whose pattern `encoding` names."""
    if min(mosaic.shape) < 4:
        raise ImageError(f"Image of {mosaic.shape[1]}x{mosaic.shape[0]} is too small for Bayer.")
    code = ENCODINGS[encoding].to_bgr
    assert code is not None
    return _as_image(cv2.cvtColor(mosaic, code))


def unsupported(encoding: str, fault: str) -> ImageError:
    """The error for an encoding that is not in the table."""
    depth = encoding.endswith("C1") or "Depth" in fault
    return ImageError(
        f"{fault}, {'a depth image' if depth else 'which is unknown'}. "
        f"Subscribe to the colour image, or publish one of {', '.join(ENCODINGS)}, or a "
        "CompressedImage (jpeg or png)."
    )


def quoted(text: str) -> str:
    """A text from the network, short enough for a message."""
    return text if len(text) <= 60 else text[:60] + "..."


def check_size(height: int, width: int, max_megapixels: float) -> None:
    """Raise ImageError for an image that is empty, too large, or a thin strip."""
    if height <= 0 or width <= 0:
        raise ImageError(f"Image is empty ({width}x{height}). Check the camera driver.")
    if height * width > max_megapixels * 1e6:
        raise ImageError(
            f"Image of {width}x{height} has more than {max_megapixels:g} million pixels. Publish "
            "a smaller one, or raise image.max_megapixels."
        )
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ImageError(f"Image of {width}x{height} is a strip. Check the camera driver.")


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


def _as_image(pixels: npt.NDArray[Any]) -> Image:
    assert pixels.dtype == np.uint8 and pixels.ndim == 3
    return pixels
