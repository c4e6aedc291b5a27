# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the node tests."""

import numpy as np
import pytest


@pytest.fixture
def robot():
    """A robot whose nodes must all end cleanly on Ctrl-C."""
    from robot import Robot

    robot = Robot()
    try:
        yield robot
    finally:
        codes = robot.stop()
    assert set(codes.values()) <= {0}, codes


@pytest.fixture
def picture():
    """Pictures by number (240, 320, 3) BGR: unlike one another, the same for the same number."""
    import cv2

    def draw(number):
        random = np.random.default_rng(number)
        image = np.full((240, 320, 3), random.integers(0, 255, 3), np.uint8)
        for _ in range(40):
            colour = random.integers(0, 255, 3).tolist()
            corners = random.integers(0, 320, (2, 2)).tolist()
            cv2.rectangle(image, *corners, colour, int(random.integers(-1, 5)))
        return image

    return draw
