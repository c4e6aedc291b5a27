# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every encoding against its definition, every damage against a clear refusal, and the network's
input."""

import dataclasses
import re
from array import array

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ImageError
from vpr_ros.core.images import ENCODINGS, decode_compressed, decode_raw, preprocess

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 8, 4), np.uint8)
BLUE, GREEN, RED = 10, 100, 200


def grey(plane):
    return np.repeat(plane[..., np.newaxis], 3, axis=2)


def raw(pixels, encoding, **fields):
    height, width = pixels.shape[:2]
    size = {"height": height, "width": width, "step": pixels.strides[0], **fields}
    return decode_raw(pixels.tobytes(), encoding=encoding, **size)


@pytest.mark.parametrize(
    ("encoding", "sent", "expected"),
    [
        ("bgr8", PIXELS[..., :3], PIXELS[..., :3]),
        ("8UC3", PIXELS[..., :3], PIXELS[..., :3]),
        ("rgb8", PIXELS[..., :3], PIXELS[..., 2::-1]),
        ("bgra8", PIXELS, PIXELS[..., :3]),
        ("rgba8", PIXELS, PIXELS[..., 2::-1]),
        ("mono8", PIXELS[..., 0], grey(PIXELS[..., 0])),
        ("8UC1", PIXELS[..., 0], grey(PIXELS[..., 0])),
    ],
)
def test_plain_encodings(encoding, sent, expected):
    sent = np.ascontiguousarray(sent)
    assert np.array_equal(raw(sent, encoding), expected)


@pytest.mark.parametrize("order", "<>")
def test_mono16_in_both_byte_orders(order):
    values = RNG.integers(0, 65536, (6, 8)).astype(order + "u2")
    expected = grey(np.rint(values / 65535 * 255).astype(np.uint8))
    assert np.array_equal(raw(values, "mono16", is_bigendian=order == ">"), expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_of_one_colour(pattern):
    cell = [{"r": RED, "g": GREEN, "b": BLUE}[letter] for letter in pattern]
    mosaic = np.tile(np.array(cell, np.uint8).reshape(2, 2), (4, 5))
    image = raw(mosaic, f"bayer_{pattern}8")
    assert image.shape == (8, 10, 3)
    assert (image == (BLUE, GREEN, RED)).all()


def yuv(blue, green, red):
    """ITU-R BT.601, limited range."""
    y = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    return round(y), round(u), round(v)


@pytest.mark.parametrize("colour", [(BLUE, GREEN, RED), (120, 120, 120), (250, 30, 60)])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")],
)
def test_yuv422_of_one_colour(encoding, order, colour):
    pair = [dict(zip("yuv", yuv(*colour), strict=True))[letter] for letter in order]
    data = np.tile(np.array(pair, np.uint8).reshape(1, 2, 2), (4, 3, 1))
    image = raw(data, encoding)
    assert image.shape == (4, 6, 3)
    assert np.abs(image.astype(int) - colour).max() <= 2


@pytest.mark.parametrize("colour", [(BLUE, GREEN, RED), (120, 120, 120), (250, 30, 60)])
@pytest.mark.parametrize(("encoding", "chroma"), [("nv12", "uv"), ("nv21", "vu")])
def test_semi_planar_of_one_colour(encoding, chroma, colour):
    value = dict(zip("yuv", yuv(*colour), strict=True))
    luma = np.full((4, 6), value["y"], np.uint8)
    rest = np.tile(np.array([value[c] for c in chroma], np.uint8), (2, 3))
    image = raw(np.concatenate([luma, rest]), encoding, height=4)
    assert image.shape == (4, 6, 3)
    assert np.abs(image.astype(int) - colour).max() <= 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_step_padding_is_skipped(encoding):
    layout = ENCODINGS[encoding]
    rows = 6 * layout.rows[0] // layout.rows[1]
    row = 8 * layout.values * np.dtype(layout.dtype).itemsize
    data = RNG.integers(0, 256, (rows, row), np.uint8)
    padded = np.pad(data, ((0, 0), (0, 5)), constant_values=77)
    plain = decode_raw(data.tobytes(), height=6, width=8, encoding=encoding, step=row)
    size = {"height": 6, "width": 8, "encoding": encoding, "step": row + 5}
    assert plain.shape == (6, 8, 3) and plain.dtype == np.uint8 and plain.std() > 1
    assert np.array_equal(decode_raw(padded.tobytes(), **size), plain)
    # as ROS hands it over, and without the padding of the last row
    assert np.array_equal(decode_raw(array("B", padded.tobytes()[:-5]), **size), plain)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoding": "32FC1"}, r"'32FC1' is not supported.*bgr8, rgb8"),
        ({"encoding": ""}, "'' is not supported"),
        ({"height": 0}, "empty (8x0)"),
        ({"width": 0}, "empty (0x6)"),
        ({"height": 0, "width": 0, "step": 0, "data": b""}, "empty (0x0)"),
        ({"step": 23}, "step is 23 bytes, but a row of 8 px in bgr8 has 24"),
        ({"step": 0}, "step is 0"),
        ({"data": bytes(143)}, "143 bytes, but 8x6 bgr8 with step 24 needs 144"),
        ({"data": b""}, "has 0 bytes"),
        ({"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1}, "step is"),
        ({"encoding": "bayer_rggb8", "height": 5}, "8x5 cannot be bayer_rggb8"),
        ({"encoding": "yuv422", "width": 7}, "7x6 cannot be yuv422"),
        ({"encoding": "nv12", "step": 8, "data": bytes(71)}, "needs 72"),
    ],
)
def test_bad_raw_images_are_refused(fields, message):
    good = {"data": bytes(144), "height": 6, "width": 8, "encoding": "bgr8", "step": 24}
    assert decode_raw(**good).shape == (6, 8, 3)
    pattern = message if ".*" in message else re.escape(message)
    with pytest.raises(ImageError, match=pattern):
        decode_raw(**{**good, **fields})


def encoded(kind, pixels=None, *options):
    smooth = cv2.resize(PIXELS[..., :3], (64, 48), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(kind, smooth if pixels is None else pixels, options)[1].tobytes()


def test_png_is_exact_and_jpeg_close():
    smooth = cv2.resize(PIXELS[..., :3], (64, 48), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(decode_compressed(encoded(".png"), "bgr8; png compressed"), smooth)
    jpeg = decode_compressed(encoded(".jpg"), "bgr8; jpeg compressed bgr8").astype(int)
    assert np.abs(jpeg - smooth).mean() < 8


def test_grey_and_deep_files_become_bgr8():
    deep = RNG.integers(0, 65536, (6, 8)).astype(np.uint16)
    image = decode_compressed(encoded(".png", deep))
    assert np.abs(image - grey(deep / 257.0)).max() <= 1
    plane = cv2.resize(PIXELS[..., 0], (64, 48))
    assert decode_compressed(encoded(".jpg", plane)).shape == (48, 64, 3)


def test_the_orientation_tag_is_ignored():
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0" * 4
    body = b"Exif\0\0" + tiff
    jpeg = encoded(".jpg")
    turned = jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    assert np.array_equal(decode_compressed(turned), decode_compressed(jpeg))


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_file_cut_anywhere_is_refused(kind):
    whole = encoded(kind)
    for length in range(0, len(whole) - 4, 7):
        with pytest.raises(ImageError):
            decode_compressed(whole[:length])
    with pytest.raises(ImageError, match="cut short"):
        decode_compressed(whole[: len(whole) // 2] + bytes(200))  # the rest never arrived


def test_a_buffer_filled_up_with_zeros_is_whole():
    jpeg = encoded(".jpg")
    assert np.array_equal(decode_compressed(jpeg + bytes(1000)), decode_compressed(jpeg))


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_damaged_file_raises_nothing_else(kind):
    whole = encoded(kind)
    refused = 0
    for position in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        try:
            assert decode_compressed(damaged).ndim == 3
        except ImageError:
            refused += 1
    assert refused


def test_a_header_that_promises_gigapixels_is_refused():
    jpeg = bytearray(encoded(".jpg"))
    size = jpeg.find(b"\xff\xc0") + 5
    jpeg[size : size + 4] = b"\xff\xdc\xff\xdc"
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode_compressed(jpeg)


@pytest.mark.parametrize(
    ("data", "format", "message"),
    [
        (b"", "jpeg", "0 bytes"),
        (b"GIF89a" + bytes(50), "gif", "'gif'.*neither JPEG nor PNG"),
        (encoded(".png"), "16UC1; compressedDepth png", "a depth image"),
    ],
)
def test_other_formats_are_refused(data, format, message):
    with pytest.raises(ImageError, match=message):
        decode_compressed(data, format)


# Network input


def test_colours_are_normalised_in_rgb_order(contract):
    contract = dataclasses.replace(contract, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    image = RNG.integers(0, 256, (6, 8, 3), np.uint8)  # already the input size
    rgb = image[..., ::-1] / 255.0
    expected = ((rgb - (0.1, 0.2, 0.3)) / (0.5, 0.6, 0.7)).transpose(2, 0, 1)
    pixels = preprocess(image, contract)
    assert pixels.dtype == np.float32 and pixels.shape == (1, 3, 6, 8)
    assert np.allclose(pixels[0], expected, atol=1e-6)


def test_shrinking_averages(contract):
    image = RNG.integers(0, 256, (18, 24, 3), np.uint8)
    means = image.reshape(6, 3, 8, 3, 3).mean((1, 3))[..., ::-1].transpose(2, 0, 1)
    assert np.abs(preprocess(image, contract)[0] - (means / 255 - 0.25)).max() <= 0.51 / 255


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (200, 2, 3), (2, 2, 3)])
def test_any_size_is_taken(contract, shape):
    assert np.allclose(preprocess(np.full(shape, 255, np.uint8), contract), 0.75, atol=1e-6)
