# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG as cameras send them are decoded; damage and bombs are refused before they cost."""

import itertools
import struct
import time
import zlib

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ImageError
from vpr_ros.core.image_files import decode_compressed, read_image
from vpr_ros.core.images import demosaiced

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (6, 8, 3), np.uint8), (64, 48), interpolation=2)
PROGRESSIVE, RESTARTS = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)


def encoded(kind, pixels=None, *options):
    return cv2.imencode(kind, SMOOTH if pixels is None else pixels, options)[1].tobytes()


def test_png_is_exact_and_jpeg_close():
    assert np.array_equal(decode_compressed(encoded(".png"), "bgr8; png compressed"), SMOOTH)
    jpeg = decode_compressed(encoded(".jpg"), "bgr8; jpeg compressed bgr8").astype(int)
    assert np.abs(jpeg - SMOOTH).mean() < 8


def test_grey_and_deep_files_become_bgr8():
    deep = RNG.integers(0, 65536, (6, 8)).astype(np.uint16)
    image = decode_compressed(encoded(".png", deep))
    assert np.abs(image - deep[..., np.newaxis] / 257.0).max() <= 1
    plane = SMOOTH[..., 0]
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


@pytest.mark.parametrize(
    ("data", "format", "message"),
    [
        (b"", "jpeg", "0 bytes"),
        (b"GIF89a" + bytes(50), "gif", "'gif'.*neither JPEG nor PNG"),
        (encoded(".png"), "16UC1; compressedDepth png", "'16UC1; compressedDepth png', a depth"),
        (encoded(".png"), "32FC1; png compressed ", "a depth image"),
        (b"\xff\xd8", "x" * 10**7, "x{60}\\.\\.\\.'. is cut short"),
    ],
)
def test_other_formats_are_refused(data, format, message):
    with pytest.raises(ImageError, match=message):
        decode_compressed(data, format)


def mosaic(image):
    """What an rggb sensor sees of a BGR image (H, W, 3)."""
    seen = image[..., 1].copy()
    seen[::2, ::2], seen[1::2, 1::2] = image[::2, ::2, 2], image[1::2, 1::2, 0]
    return seen


@pytest.mark.parametrize(
    ("kind", "format", "depth"),
    [
        (".jpg", "bayer_rggb8; jpeg compressed ", 1),
        (".png", "bayer_rggb8; png compressed ", 1),
        (".png", "bayer_rggb16; png compressed ", 16),  # 12 bits in 16
    ],
)
def test_a_grey_picture_of_a_mosaic_gets_its_colours(kind, format, depth):
    seen = mosaic(cv2.resize(SMOOTH, (320, 240)))
    sent = encoded(kind, seen if depth == 1 else seen.astype(np.uint16) * depth)
    wanted = demosaiced(seen, "bayer_rggb8").astype(int)
    assert np.abs(decode_compressed(sent, format) - wanted).mean() < (8 if kind == ".jpg" else 1)
    # newer publishers convert before they compress, and say so
    colour = encoded(kind)
    plain = decode_compressed(colour)
    assert np.array_equal(decode_compressed(colour, format + "bgr8"), plain)


@pytest.mark.parametrize("tail", [bytes(1000), RNG.bytes(512), b"\xff", encoded(".jpg")[-900:]])
@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_bytes_behind_the_end_do_no_harm(kind, tail):
    whole = encoded(kind)
    assert np.array_equal(decode_compressed(whole + tail), decode_compressed(whole))


@pytest.mark.parametrize("options", [(), PROGRESSIVE, RESTARTS])
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_that_lacks_data_is_refused_though_it_ends(options, grey):
    image = cv2.resize(SMOOTH, (320, 240))
    whole = encoded(".jpg", image[..., 0] if grey else image, *options)
    assert decode_compressed(whole).shape == (240, 320, 3)
    for part in (0.3, 0.5, 0.9):
        with pytest.raises(ImageError, match="cut short"):
            decode_compressed(whole[: int(len(whole) * part)] + b"\xff\xd9")
    if not options:  # a packet lost on the way
        with pytest.raises(ImageError, match="cut short"):
            decode_compressed(whole[: len(whole) // 3] + whole[len(whole) // 2 :])


@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_that_lacks_whole_scans_is_refused(grey):
    whole = encoded(".jpg", SMOOTH[..., 0] if grey else SMOOTH, *PROGRESSIVE)
    starts = [i for i in range(len(whole)) if whole[i : i + 2] == b"\xff\xda"]
    assert len(starts) > 5
    for start in starts[1:]:
        assert cv2.imdecode(np.frombuffer(whole[:start] + b"\xff\xd9", np.uint8), 1) is not None
        with pytest.raises(ImageError, match="cut short"):
            decode_compressed(whole[:start] + b"\xff\xd9")
    # one scan of a picture that has a scan for each of its three components
    single = encoded(".jpg", SMOOTH[..., 0])
    frame = single.index(b"\xff\xc0")
    three = b"\xff\xc0\0\x11" + single[frame + 4 : frame + 9] + b"\3\1\x11\0\2\x11\0\3\x11\0"
    with pytest.raises(ImageError, match="cut short"):
        decode_compressed(single[:frame] + three + single[frame + 13 :])


def test_a_png_that_lacks_whole_chunks_is_refused():
    whole = encoded(".png", RNG.integers(0, 256, (96, 128, 3), np.uint8))
    chunks = [i - 4 for i in range(len(whole)) if whole[i : i + 4] in (b"IDAT", b"IEND")]
    assert len(chunks) > 3
    for one, other in itertools.pairwise(chunks):
        with pytest.raises(ImageError, match="cannot be decoded"):
            decode_compressed(whole[:one] + whole[other:])  # from the middle
        with pytest.raises(ImageError, match="cannot be decoded"):
            decode_compressed(whole[:one] + whole[chunks[-1] :])


@pytest.mark.parametrize("options", [(), PROGRESSIVE, RESTARTS])
def test_a_whole_picture_that_is_grey_is_taken(options):
    flat = np.full((50, 70, 3), 128, np.uint8)
    assert (decode_compressed(encoded(".jpg", flat, *options)) == 128).all()


def jpeg_of_size(width, height):
    jpeg = bytearray(encoded(".jpg"))
    size = jpeg.find(b"\xff\xc0") + 5
    jpeg[size : size + 4] = struct.pack(">HH", height, width)
    return bytes(jpeg)


def png_of_size(width, height):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("make", [jpeg_of_size, png_of_size])
@pytest.mark.parametrize("size", [(32000, 32000), (65500, 489), (8000, 4001)])
def test_a_header_that_promises_too_much_is_refused_before_decoding(make, size, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"more than 32 million|is a strip"):
        decode_compressed(make(*size))
    with pytest.raises(ImageError, match=r"40x40 has more than 0.001 million pixels"):
        decode_compressed(make(40, 40), max_megapixels=0.001)


def test_a_jpeg_of_endless_scans_is_refused(monkeypatch):
    jpeg = encoded(".jpg", None, *PROGRESSIVE)
    scan = jpeg.rindex(b"\xff\xda")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="more than 20 scans"):
        decode_compressed(jpeg[:scan] + jpeg[scan:-2] * 200 + jpeg[-2:])
    with pytest.raises(ImageError, match="more than 10000 segments"):
        decode_compressed(jpeg[:2] + b"\xff\xfe\0\x02" * 10**6 + jpeg[2:])


def test_looking_through_a_file_costs_little_beside_decoding_it():
    jpeg = encoded(".jpg", cv2.resize(SMOOTH, (1280, 960)))
    raw = np.frombuffer(jpeg, np.uint8)

    def check():
        return decode_compressed(jpeg)

    times = {"plain": [], "checked": []}
    for _ in range(20):  # interleaved, against other load
        for name, decode in (("plain", lambda: cv2.imdecode(raw, 1)), ("checked", check)):
            began = time.perf_counter()
            decode()
            times[name].append(time.perf_counter() - began)
    assert min(times["checked"]) < 2 * min(times["plain"])


def test_a_file_on_disk_is_read_as_the_robot_would(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(".jpg"))
    assert np.array_equal(read_image(path), decode_compressed(encoded(".jpg")))
    path.write_bytes(encoded(".jpg")[:-300])
    with pytest.raises(ImageError, match=f"{path}: .* is cut short"):
        read_image(path)
    for missing in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match=f"{missing} cannot be read"):
            read_image(missing)
