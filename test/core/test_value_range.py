# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""16-bit images look like the 8-bit images of the same scene, and do not flicker."""

import cv2
import numpy as np
import pytest

from vpr_ros.core.images import decode_raw
from vpr_ros.core.value_range import ValueRange

RNG = np.random.default_rng(0)
SCENE = cv2.GaussianBlur(RNG.integers(0, 256, (120, 160), np.uint8), (0, 0), 3).astype(float)
SCENE = (SCENE - SCENE.min()) / np.ptp(SCENE)  # 0 to 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_bits_that_a_sensor_has_are_all_used(bits, share):
    seen = ValueRange()
    seen.to_8_bits((SCENE * (2**bits - 1)).astype(np.uint16))  # a bright scene shows the bits
    image = seen.to_8_bits((SCENE * share * (2**bits - 1)).astype(np.uint16))
    assert np.abs(image - SCENE * share * 255).max() <= 1.5


def test_12_bits_in_a_message():
    values = (SCENE * 4095).astype(np.uint16)
    image = decode_raw(values.tobytes(), height=120, width=160, encoding="mono16", step=320)
    assert np.abs(image[..., 0] - SCENE * 255).max() <= 1.5


@pytest.mark.parametrize(("low", "span"), [(7200, 600), (29315, 900), (13000, 300)])
def test_a_thermal_band_is_stretched(low, span):
    image = ValueRange().to_8_bits((low + SCENE * span).astype(np.uint16))
    assert 100 < np.ptp(image) < 180  # half of the range is left for what comes


def test_a_covered_or_even_view_is_not_stretched_into_noise():
    noise = RNG.normal(0, 3, (120, 160))
    dark = ValueRange()
    dark.to_8_bits((SCENE * 4095).astype(np.uint16))
    assert dark.to_8_bits((60 + noise).astype(np.uint16)).max() < 8
    wall = ValueRange().to_8_bits((7500 + noise).astype(np.uint16))  # thermal, of 14 bits
    assert wall.std() < 10


def test_a_night_drive_past_lamps_does_not_flicker():
    camera = ValueRange()
    camera.to_8_bits((SCENE * 3000).astype(np.uint16))
    ranges = set()
    for number in range(60):
        brightness = 4000 if number % 7 == 0 else 300
        camera.to_8_bits((SCENE * brightness).astype(np.uint16))
        ranges.add((camera.black, camera.white))
    assert ranges == {(0, 4095)}


def test_something_hot_that_passes_does_not_flicker():
    camera, ranges = ValueRange(), set()
    for number in range(60):
        values = 7200 + SCENE * 600 + number  # it also gets warmer
        if number % 10 in (5, 6):
            values[:40] += 3000
        camera.to_8_bits(values.astype(np.uint16))
        ranges.add((camera.black, camera.white))
    assert len(ranges) == 1


def test_a_range_that_no_longer_fits_is_left_after_three_images():
    camera = ValueRange()
    camera.to_8_bits((7200 + SCENE * 600).astype(np.uint16))
    out = (9000 + SCENE * 600).astype(np.uint16)
    contrast = [np.ptp(camera.to_8_bits(out)) for _ in range(4)]
    assert contrast[:2] == [0, 0] and min(contrast[2:]) > 100


@pytest.mark.parametrize("value", [0, 1, 255, 65535])
def test_an_image_of_one_value_is_survived(value):
    for shape in ((4, 5), (4, 1), (1, 4), (4, 5, 3)):
        image = ValueRange().to_8_bits(np.full(shape, value, np.uint16))
        assert image.shape == shape and image.dtype == np.uint8
