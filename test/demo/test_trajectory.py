# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories: how odometry drifts, and the error that is reported."""

import math

import pytest

from demo.trajectory import alignment, ate_m, drifting
from vpr_ros.core.pose import Pose


def straight(count):
    """Poses a metre apart."""
    return [Pose.planar(float(i), 0.0, 0.0) for i in range(count)]


def test_the_heading_drifts_by_what_is_asked_for():
    moved = drifting(straight(101), seed=3, bias_deg=0.5)
    turned = abs(math.degrees(moved[-1].yaw))
    assert turned == pytest.approx(50, abs=12)  # and at random, 0.3 degrees per root metre
    assert moved[0] == straight(1)[0]
    still = drifting([straight(1)[0]] * 100, seed=3)
    assert still[-1].distance_m(still[0]) == 0 and still[-1].angle_deg(still[0]) < 1e-6


def test_the_error_is_that_after_the_best_alignment():
    truth = [Pose.planar(float(i), float(i * i), 0.0) for i in range(5)]
    elsewhere = Pose.planar(7.0, -2.0, 1.0)
    moved = [elsewhere.compose(p) for p in truth]
    assert ate_m(moved, truth) == pytest.approx(0, abs=1e-9)
    assert alignment(moved, truth).compose(moved[3]).distance_m(truth[3]) < 1e-9
    off = [Pose.planar(p.x + (0.1, -0.1)[i % 2], p.y, 0.0) for i, p in enumerate(truth)]
    assert 0.05 < ate_m(off, truth) < 0.11
