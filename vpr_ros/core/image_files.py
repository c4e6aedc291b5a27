# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG, in messages and in files: checked before they are decoded.

A few hundred bytes can claim an image that takes gigabytes, and decoders fill missing data with
grey, which would be matched as if it had been seen.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ImageError
from vpr_ros.core.images import (
    ENCODINGS,
    MAX_MEGAPIXELS,
    Buffer,
    Image,
    check_size,
    demosaiced,
    quoted,
    resized,
    unsupported,
)
from vpr_ros.core.keyframe import MAX_THUMBNAIL, Thumbnail
from vpr_ros.core.value_range import ValueRange

Bytes = npt.NDArray[np.uint8]

THUMBNAIL_QUALITY = 80
THUMBNAIL_MEGAPIXELS = 1.0  # more is no thumbnail
MAX_SCANS = 20  # of a progressive JPEG, which usually has 6 to 12; each costs as much as an image
MAX_SEGMENTS = 10_000
# The orientation tag is ignored, as image_transport's decoders do: the pixels of a camera that is
# fixed to a robot keep their place whatever its driver writes into it, and so do camera_info and
# view.mask. Deep and grey files stay so until their values are scaled.
_FLAGS = cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
_GREY = 128  # libjpeg's filling
# More of a scan, in case it goes on here, or at any of the restart markers.
_NOISE = np.random.default_rng(0).integers(0, 255, 100, np.uint8).tobytes()  # no 0xff
_EXCESS = _NOISE + b"".join(bytes([0xFF, 0xD0 + n]) + _NOISE for n in range(8))


@dataclasses.dataclass(frozen=True)
class _Header:
    """What is known of a file before it is decoded."""

    width: int
    height: int
    end: int  # bytes up to the file's own end
    progressive: bool = False


def decode_compressed(
    data: Buffer,
    format: str = "",
    values: ValueRange | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Image:
    """Decode the fields of a sensor_msgs/CompressedImage (JPEG or PNG) to BGR (H, W, 3).

    The content determines whether it is JPEG or PNG. `format` determines whether it is a depth
    image, and whether a grey picture is a Bayer mosaic. `values` is the range of 16-bit images;
    without it, the range of this image is used. Bytes after the end are ignored.

    Raises ImageError for depth images, other formats, truncated files and images above
    `max_megapixels`.
    """
    raw = np.frombuffer(data, dtype=np.uint8)
    said = f"of {raw.size} bytes" + (f" (format '{quoted(format)}')" if format else "")
    encoding = format.partition(";")[0].strip()
    depth = "compressedDepth" in format or encoding.endswith(("UC1", "SC1", "FC1"))
    if depth and encoding not in ENCODINGS:
        raise unsupported(encoding, f"Compressed image has format '{quoted(format)}'")
    start = raw[:8].tobytes()
    if start.startswith(b"\xff\xd8"):
        header = _jpeg_header(raw, said)
    elif start == b"\x89PNG\r\n\x1a\n":
        header = _png_header(raw, said)
    else:
        raise ImageError(
            f"Compressed image {said} is neither JPEG nor PNG. Convert it to one of these."
        )
    check_size(header.height, header.width, max_megapixels)
    raw = raw[: header.end]
    pixels = _pixels(raw)
    if pixels is None:
        raise ImageError(f"Compressed image {said} cannot be decoded. It has been damaged.")
    if start.startswith(b"\xff\xd8") and _lacks_data(raw, pixels, header.progressive):
        raise _cut_short(said)
    if pixels.dtype == np.uint16:
        pixels = (values or ValueRange()).to_8_bits(pixels)
    if pixels.ndim == 2 and encoding.startswith("bayer_") and encoding in ENCODINGS:
        return demosaiced(np.asarray(pixels, np.uint8), encoding)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return np.asarray(pixels, np.uint8)


def shrunk(image: Image, side: int) -> Image:
    """The image (H, W, 3) with a longer side of at most `side` [px]."""
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    return resized(image, max(1, round(scale * height)), max(1, round(scale * width)))


def thumbnail_of(picture: Image, image_width: int) -> Thumbnail | None:
    """The thumbnail of an already shrunk picture (H, W, 3); None if it takes too many bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY]
    jpeg = cv2.imencode(".jpg", picture, options)[1].tobytes()
    return Thumbnail(jpeg, image_width) if len(jpeg) <= MAX_THUMBNAIL else None


def check_thumbnail(jpeg: bytes) -> None:
    """Raise ImageError unless this is a complete JPEG that claims a small size."""
    said = f"of {len(jpeg)} bytes, a thumbnail,"
    if not jpeg.startswith(b"\xff\xd8"):
        raise ImageError(f"Compressed image {said} is no JPEG.")
    header = _jpeg_header(np.frombuffer(jpeg, np.uint8), said)
    check_size(header.height, header.width, THUMBNAIL_MEGAPIXELS)


def read_image(path: Path) -> Image:
    """The BGR image (H, W, 3) of a file, decoded as on the robot; raises ImageError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror or error}).") from None
    try:
        return decode_compressed(content)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def _pixels(raw: Bytes) -> npt.NDArray[Any] | None:
    try:
        return cv2.imdecode(raw, _FLAGS)
    except cv2.error:
        return None


def _lacks_data(raw: Bytes, pixels: npt.NDArray[Any], progressive: bool) -> bool:
    """Whether a JPEG with an end mark lacks data in between, which libjpeg only warns of.

    Then, and only then, more bytes before the end mark change the picture. That is tried where
    the last pixel is grey, which is what libjpeg fills the rest of a picture with. The scans of a
    progressive JPEG each cover the whole picture; one with restart markers is not always found
    out.
    """
    if not progressive and (pixels[-1, -1] != _GREY).any():
        return False
    more = raw[:-2].tobytes().rstrip(b"\xff") + _EXCESS + raw[-2:].tobytes()
    changed = _pixels(np.frombuffer(more, np.uint8))
    return changed is None or not np.array_equal(changed, pixels)


def _jpeg_header(raw: Bytes, said: str) -> _Header:
    """Walk through a JPEG's segments (ITU-T T.81, annex B) to its end."""
    # Within a scan 0xff is followed by 0, and restarts have numbers; anything else is a marker.
    follower = raw[1:]
    marks = np.flatnonzero((raw[:-1] == 0xFF) & (follower != 0) & (follower != 0xFF))
    size, progressive, scans, position = (0, 0), False, 0, 2
    lacking: dict[int, int] = {}  # the coefficients that no scan has brought, a bit each, by part
    for _ in range(MAX_SEGMENTS):
        index = int(np.searchsorted(marks, position))
        while index < len(marks) and 0xD0 <= raw[marks[index] + 1] <= 0xD7:
            index += 1
        if index == len(marks):
            raise _cut_short(said)
        position = int(marks[index]) + 2
        kind = int(raw[position - 1])
        if kind == 0xD9:
            if any(lacking.values()):  # it ends between two scans
                raise _cut_short(said)
            return _Header(*size, position, progressive)
        if kind in (0x01, 0xD8):  # without content
            continue
        segment = raw[position : position + 9].astype(int)
        if len(segment) < 9:
            raise _cut_short(said)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = segment[3] * 256 + segment[4], segment[5] * 256 + segment[6]
            size = max(size[0], int(width)), max(size[1], int(height))
            progressive = kind in (0xC2, 0xC6, 0xCA, 0xCE)
            lacking = dict.fromkeys(_parts(raw, position + 8, 3, int(segment[7])), 2**64 - 1)
        if kind == 0xDA:
            scans += 1
            count = int(segment[2])
            end = position + 3 + 2 * count
            low, high, accuracy = (*raw[end : end + 3].tolist(), 0, 0, 0)[:3]
            if not progressive or accuracy & 15 == 0:  # to the last bit
                brought = 2**64 - 1 if not progressive else 2 ** (high + 1) - 2**low
                for part in _parts(raw, position + 3, 2, count):
                    lacking[part] = lacking.get(part, 0) & ~brought
        if scans > MAX_SCANS:
            raise ImageError(f"Compressed image {said} has more than {MAX_SCANS} scans.")
        position += int(segment[0] * 256 + segment[1])
    raise ImageError(f"Compressed image {said} has more than {MAX_SEGMENTS} segments.")


def _parts(raw: Bytes, start: int, step: int, count: int) -> list[int]:
    """The numbers of the components that a frame or scan lists."""
    return [int(number) for number in raw[start : start + step * count : step]]


def _png_header(raw: Bytes, said: str) -> _Header:
    """Walk through a PNG's chunks (ISO/IEC 15948, clause 11) to its end."""
    content, position = raw.tobytes(), 8
    for _ in range(MAX_SEGMENTS):
        length = int.from_bytes(content[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        position += 12 + length
        if position > len(content):
            raise _cut_short(said)
        if kind == b"acTL":
            raise ImageError(f"Compressed image {said} is an animation. Publish single images.")
        if kind == b"IEND":
            width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
            return _Header(width, height, position)
    raise ImageError(f"Compressed image {said} has more than {MAX_SEGMENTS} chunks.")


def _cut_short(said: str) -> ImageError:
    return ImageError(f"Compressed image {said} is cut short. It has been damaged.")
