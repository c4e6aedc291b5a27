# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Changed query images, pixel by pixel where a hand can work it out."""

import cv2
import numpy as np
import pytest

from vpr_ros.evaluation.image_changes import AS_TAKEN, CHANGES

CHANGE = {change.name: change.apply for change in (AS_TAKEN, *CHANGES)}


@pytest.mark.parametrize("name", CHANGE)
def test_shape_and_type_stay_and_the_image_itself_is_not_touched(name):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    before = image.copy()
    changed = CHANGE[name](image)
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert (image == before).all()
    assert (changed == image).all() == (name == "as taken")


def test_brightness_by_hand():
    image = np.array([[[0, 10, 100]], [[127, 128, 255]]], dtype=np.uint8)
    assert CHANGE["brighter"](image).tolist() == [[[0, 20, 200]], [[254, 255, 255]]]
    assert CHANGE["darker"](image)[0].tolist() == [[0, 5, 50]]


def test_blur_is_wider_in_a_larger_image():
    """A step from 0 to 200: the width of the blurred edge grows with the image."""
    widths = []
    for width in (160, 640):
        image = np.zeros((20, width, 3), dtype=np.uint8)
        image[:, width // 2 :] = 200
        row = CHANGE["blurred"](image)[10, :, 0]
        widths.append(int(((row > 20) & (row < 180)).sum()))
        assert row[0] == 0 and row[-1] == 200
    assert widths[1] >= 3 * widths[0] > 0


def test_a_turn_of_15_degrees_about_the_centre():
    image = np.zeros((201, 201, 3), dtype=np.uint8)
    cv2.circle(image, (160, 100), 5, (255, 255, 255), -1)  # 60 px to the right of the centre
    y, x = np.argwhere(CHANGE["turned"](image)[:140, :, 0] > 128).mean(axis=0)
    angle = np.degrees(np.arctan2(100 - y, x - 100))
    assert angle == pytest.approx(15, abs=0.5)
    assert np.hypot(x - 100, y - 100) == pytest.approx(60, abs=0.5)
    white = np.full((60, 80, 3), 255, dtype=np.uint8)
    assert (CHANGE["turned"](white) == 255).all()  # no black corners
