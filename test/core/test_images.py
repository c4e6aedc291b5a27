# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every encoding against its definition, every damage against a clear refusal, and the network's
input."""

import dataclasses
import re
from array import array

import numpy as np
import pytest

from vpr_ros.core.errors import ImageError
from vpr_ros.core.images import ENCODINGS, decode_raw, preprocess

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
@pytest.mark.parametrize(("encoding", "channels"), [("mono16", 1), ("bgr16", 3), ("rgb16", -3)])
def test_16_bits_in_both_byte_orders(order, encoding, channels):
    values = RNG.integers(0, 65536, (6, 8, abs(channels))).astype(order + "u2")
    expected = np.rint(values / 65535 * 255).astype(np.uint8)
    expected = {1: grey(expected[..., 0]), 3: expected, -3: expected[..., ::-1]}[channels]
    assert np.array_equal(raw(values, encoding, is_bigendian=order == ">"), expected)


@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "bayer_rggb8", "yuyv", "nv12"])
def test_byte_order_means_nothing_for_bytes(encoding):
    layout = ENCODINGS[encoding]
    rows = 6 * layout.rows[0] // layout.rows[1]
    data = RNG.integers(0, 256, (rows, 8 * layout.values), np.uint8).tobytes()
    size = dict(height=6, width=8, encoding=encoding, step=8 * layout.values)
    assert np.array_equal(decode_raw(data, **size, is_bigendian=True), decode_raw(data, **size))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(("bits", "unit"), [(8, 1), (16, 16)])
def test_bayer_of_one_colour(pattern, bits, unit):
    cell = [{"r": RED, "g": GREEN, "b": BLUE}[letter] * unit for letter in pattern]
    mosaic = np.tile(np.array(cell, f"u{bits // 8}").reshape(2, 2), (4, 5))
    image = raw(mosaic, f"bayer_{pattern}{bits}")  # 12 bits in 16
    assert image.shape == (8, 10, 3)
    assert np.abs(image.astype(int) - (BLUE, GREEN, RED)).max() <= bits // 16


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
        ({"encoding": "32FC1"}, r"'32FC1' is not supported, a depth image.*bgr8, rgb8"),
        ({"encoding": "x" * 10**7}, "'" + "x" * 60 + "...' is not supported, which is unknown"),
        ({"encoding": ""}, "'' is not supported"),
        ({"height": 0}, "empty (8x0)"),
        ({"width": 0}, "empty (0x6)"),
        ({"height": 0, "width": 0, "step": 0, "data": b""}, "empty (0x0)"),
        ({"step": 23}, "step is 23 bytes, but a row of 8 px in bgr8 has 24"),
        ({"step": 0}, "step is 0"),
        ({"data": bytes(143)}, "143 bytes, but 8x6 bgr8 with step 24 needs 144"),
        ({"data": b""}, "has 0 bytes"),
        ({"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1}, "32 million pixels"),
        ({"height": 1, "width": 48, "step": 144}, "48x1 is a strip"),
        ({"encoding": "bayer_rggb8", "height": 2}, "8x2 is too small for Bayer"),
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


def test_no_combination_of_fields_raises_anything_else():
    random = np.random.default_rng(1)
    sizes = [0, 1, 2, 3, 4, 5, 8, 16, 1000, 2**31, 2**32 - 1]
    outcomes = {True: 0, False: 0}
    for number in range(2000):
        encoding = list(ENCODINGS)[number % len(ENCODINGS)]
        layout = ENCODINGS[encoding]
        height, width, step = (int(random.choice(sizes)) for _ in range(3))
        if number % 3:
            step = width * layout.values * np.dtype(layout.dtype).itemsize
        size = {"height": height, "width": width, "step": step, "encoding": encoding}
        try:
            data = random.bytes(int(random.integers(0, 20_000)))
            image = decode_raw(data, **size, is_bigendian=bool(number % 2))
            assert image.shape == (height, width, 3)
            outcomes[True] += 1
        except ImageError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 100


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
