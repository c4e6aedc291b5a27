# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The measurement of mapping: its drift, and the error it reports."""

import math

import numpy as np
import pytest

from bench.mapping import ate_m, drifting
from vpr_ros.core.keyframe import Keyframe
from vpr_ros.core.pose import Pose


def straight(count):
    """Keyframes a metre apart."""
    none = np.zeros(2, np.float32)
    return [
        Keyframe(i + 1, i * 10**9, "m", 0.0, none, pose=Pose.planar(float(i), 0.0, 0.0))
        for i in range(count)
    ]


def test_the_heading_drifts_by_what_is_asked_for():
    moved = drifting(straight(101), drift_deg=0.5, seed=3)
    turned = abs(math.degrees(moved[-1].pose.yaw))
    assert turned == pytest.approx(50, abs=12)  # and at random, 0.3 degrees per root metre
    assert moved[0].pose == straight(1)[0].pose


def test_the_error_is_that_after_the_best_alignment():
    truth = [Pose.planar(float(i), float(i * i), 0.0) for i in range(5)]
    elsewhere = Pose.planar(7.0, -2.0, 1.0)
    assert ate_m([elsewhere.compose(p) for p in truth], truth) == pytest.approx(0, abs=1e-9)
    off = [Pose.planar(p.x + (0.1, -0.1)[i % 2], p.y, 0.0) for i, p in enumerate(truth)]
    assert 0.05 < ate_m(off, truth) < 0.11
