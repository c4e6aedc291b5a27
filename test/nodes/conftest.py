# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the node tests; without ROS 2 their modules are reported as skipped."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for robot.py, beside the tests
sys.path.insert(0, str(Path(__file__).parents[1] / "fleet"))  # for robots.py

try:  # beside the sources, a folder vpr_msgs can always be imported, but it is empty
    import rclpy  # noqa: F401

    from vpr_msgs.msg import Keyframe  # noqa: F401
except ImportError as error:
    MISSING = f"needs ROS 2 and vpr_msgs, as `make test` has them ({error})"
else:
    MISSING = ""


class SkippedModule(pytest.Module):
    """A test module that is not imported, because what it imports is missing."""

    def collect(self):
        pytest.skip(MISSING)


def pytest_pycollect_makemodule(module_path, parent):
    """Skip every module of this folder if ROS 2 is missing."""
    return SkippedModule.from_parent(parent, path=module_path) if MISSING else None


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
