# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The homography against points projected by hand."""

import math

import numpy as np
import pytest

from vpr_ros.training.viewpoint import FIELD_OF_VIEW_DEG, Movement, homography

HEIGHT, WIDTH = 60, 100
FOCAL = WIDTH / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))


def moved(point, move, target=(HEIGHT, WIDTH)):
    x, y, w = homography((HEIGHT, WIDTH), target, move) @ [*point, 1.0]
    return x / w, y / w


def test_standing_still_only_resizes():
    assert moved((20, 30), Movement()) == pytest.approx((20, 30))
    assert moved((20, 30), Movement(), (120, 50)) == pytest.approx((10, 60))


def test_a_step_aside_shifts_a_plane_by_focal_length_over_distance():
    assert moved((50, 30), Movement((1.0, 0, 0), distance_m=4.0)) == pytest.approx(
        (50 - FOCAL / 4, 30)
    )


def test_a_step_ahead_enlarges():
    # from 4 m to 3 m everything is 4/3 as far from the middle
    assert moved((80, 45), Movement((0, 0, 1.0), distance_m=4.0)) == pytest.approx((90, 50))


def test_a_turn_moves_the_middle_by_its_tangent():
    x, y = moved((50, 30), Movement(yaw_deg=10.0))
    assert abs(x - 50) == pytest.approx(FOCAL * math.tan(math.radians(10)))
    assert y == pytest.approx(30)
    assert moved((50, 30), Movement(roll_deg=90.0)) == pytest.approx((50, 30))


def test_zoom_enlarges_about_the_middle():
    assert moved((60, 30), Movement(zoom=2.0)) == pytest.approx((70, 30))


def test_points_on_a_slanted_plane():
    """The same three points of the plane, seen by both cameras."""
    move = Movement(
        (0.5, -0.2, 0.3), 5.0, slant_deg=20.0, yaw_deg=7.0, pitch_deg=3.0, roll_deg=5.0
    )
    slant = math.radians(20.0)
    normal = np.array([math.sin(slant), 0, math.cos(slant)])
    for ray in ([0.1, 0.2, 1.0], [-0.5, 0.0, 1.0], [0.4, -0.3, 1.0]):
        point = np.array(ray) * 5.0 / (normal @ ray)
        turn = _turn(2, 5.0) @ _turn(0, 3.0) @ _turn(1, 7.0)
        x, y, z = turn @ (point - move.shift_m)
        before = (FOCAL * ray[0] + WIDTH / 2, FOCAL * ray[1] + HEIGHT / 2)
        assert moved(before, move) == pytest.approx(
            (FOCAL * x / z + WIDTH / 2, FOCAL * y / z + HEIGHT / 2)
        )


def _turn(axis, degrees):
    import cv2

    vector = np.zeros(3)
    vector[axis] = math.radians(degrees)
    return cv2.Rodrigues(vector)[0]
