# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames are worth a keyframe: moving, turning, changing, and never standing still."""

import math

import numpy as np
import pytest

from vpr_ros.core.gate import GateConfig, KeyframeGate
from vpr_ros.core.pose import Pose

S = 1_000_000_000
ORIGIN = Pose.planar(0, 0, 0)
CONFIG = GateConfig(distance_m=0.5, angle_deg=20.0, interval_s=0.2, change=0.05)


def view(degrees):
    """A descriptor at an angle from view(0)."""
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)


@pytest.fixture
def gate():
    """After a first keyframe at 10 s in the origin."""
    gate = KeyframeGate(CONFIG)
    assert gate.wants(10 * S, ORIGIN) and gate.accepts(10 * S, ORIGIN, view(0))
    return gate


@pytest.fixture
def blind():
    """The same without odometry."""
    gate = KeyframeGate(CONFIG)
    assert gate.wants(10 * S, None) and gate.accepts(10 * S, None, view(0))
    return gate


@pytest.mark.parametrize(
    ("pose", "wanted"),
    [
        (ORIGIN, False),
        (Pose.planar(0.49, 0, 0), False),
        (Pose.planar(0.3, 0.41, 0), True),
        (Pose.planar(0, 0, math.radians(19.9)), False),
        (Pose.planar(0, 0, math.radians(-20.1)), True),
    ],
)
def test_with_odometry_motion_decides(gate, pose, wanted):
    assert gate.wants(100 * S, pose) is wanted


def test_slow_creep_adds_up_from_the_last_keyframe(gate):
    wants = [gate.wants((10 + i) * S, Pose.planar(0.1 * i, 0, 0)) for i in range(1, 7)]
    assert wants == [False] * 4 + [True] * 2


def test_with_odometry_the_descriptor_has_no_say(gate):
    assert gate.accepts(11 * S, Pose.planar(1, 0, 0), view(0))
    assert not gate.wants(12 * S, Pose.planar(1.1, 0, 0))


def test_without_odometry_time_and_change_decide(blind):
    assert not blind.wants(10 * S + S // 10, None)
    assert blind.wants(10 * S + S // 5, None)
    assert not blind.accepts(11 * S, None, view(18))  # 1 - cos 18 deg = 0.049
    assert not blind.wants(11 * S + S // 10, None)  # what was encoded counts, kept or not
    assert blind.accepts(12 * S, None, view(19))  # 0.054
    assert not blind.accepts(13 * S, None, view(19 + 18))  # compared with the one kept last


@pytest.mark.parametrize("pose", [None, ORIGIN], ids=["blind", "odometry"])
def test_standing_still_adds_nothing(pose):
    gate = KeyframeGate(CONFIG)
    noise = np.random.default_rng(0).normal(0, 2, 300)
    kept = [
        gate.wants(i * S, pose) and gate.accepts(i * S, pose, view(degrees))
        for i, degrees in enumerate(noise, start=1)
    ]
    assert sum(kept) == 1


def test_odometry_that_comes_or_goes_is_survived(gate, blind):
    assert not blind.accepts(11 * S, ORIGIN, view(1))
    assert gate.wants(11 * S, None) and not gate.accepts(11 * S, None, view(1))
    assert gate.accepts(12 * S, None, view(30))


@pytest.mark.parametrize("pose", [None, ORIGIN], ids=["blind", "odometry"])
def test_a_clock_that_jumps_back_starts_anew(pose):
    gate = KeyframeGate(CONFIG)
    gate.accepts(100 * S, pose, view(0))
    assert gate.wants(5 * S, pose) and gate.accepts(5 * S, pose, view(0))
    assert not gate.wants(5 * S + 1, pose)


def test_a_jump_back_before_the_last_encoded_frame_only(blind):
    blind.accepts(100 * S, None, view(1))
    assert blind.wants(50 * S, None)
    assert not blind.accepts(50 * S, None, view(1))
    assert not blind.wants(50 * S + S // 10, None)


def test_a_new_model_makes_the_next_frame_a_keyframe(blind):
    assert blind.accepts(11 * S, None, np.ones(4, np.float32) / 2)


def test_reset_forgets(gate):
    gate.reset()
    assert gate.wants(10 * S, ORIGIN) and gate.accepts(10 * S, ORIGIN, view(0))


def test_nan_never_becomes_a_keyframe(blind):
    assert not blind.accepts(11 * S, None, view(math.nan))
    assert not blind.accepts(12 * S, None, view(0))


@pytest.mark.parametrize(
    ("config", "own", "kept"),
    [
        (-1.0, 0.0, False),  # 8 degrees, a distance of 0.01: less than what holds for any model
        (-1.0, 0.005, True),  # the model's own
        (-1.0, 0.02, False),
        (0.02, 0.005, False),  # the user's comes first
        (0.0, 0.5, True),
    ],
)
def test_the_model_says_what_another_view_is_unless_the_user_does(config, own, kept):
    gate = KeyframeGate(GateConfig(change=config))
    assert gate.accepts(10 * S, None, view(0), own)
    assert gate.accepts(11 * S, None, view(8), own) is kept
