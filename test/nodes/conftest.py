# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the node tests; without ROS 2 they skip with a reason."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for robot.py, beside the tests

# Without ROS 2 there is nothing to collect here; `make test` brings it.
_READY = all(importlib.util.find_spec(name) for name in ("rclpy", "vpr_msgs"))
collect_ignore_glob = [] if _READY else ["test_*.py"]


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
