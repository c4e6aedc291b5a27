# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames are worth a keyframe: moving, turning, changing, and never standing still."""

import itertools
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


def test_a_change_of_0_accepts_every_view():
    """Also one whose cosine with the last is a rounding error above 1, but not NaN."""
    gate = KeyframeGate(GateConfig(change=0.0))
    same = np.full(768, np.sqrt(1 / 768), np.float32) * np.float32(1 + 1e-6)
    assert float(same @ same) > 1.0
    assert [gate.accepts(stamp * S, None, same) for stamp in range(3)] == [True] * 3
    assert not gate.accepts(3 * S, None, np.full(768, np.nan, np.float32))


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


# Time


@pytest.mark.parametrize("step_s", [1e-9, 0.05, 0.9])
@pytest.mark.parametrize("pose", [None, ORIGIN], ids=["blind", "odometry"])
def test_a_small_step_back_is_no_new_start(step_s, pose):
    gate = KeyframeGate(CONFIG)
    for t in range(10):
        gate.accepts(t * S, pose and Pose.planar(t, 0, 0), view(10 * t))
    stamp, near = 9 * S - round(step_s * S), pose and Pose.planar(8.9, 0, 0)
    assert not (gate.wants(stamp, near) and gate.accepts(stamp, near, view(89)))


def test_the_same_stamp_again_is_not_encoded_again(blind):
    assert not blind.wants(10 * S, None)


@pytest.mark.parametrize("wrong_s", [1e9, 1e-9, 11.0])
def test_one_wrong_stamp_neither_stops_the_gate_nor_starts_it_anew(wrong_s):
    gate = KeyframeGate(CONFIG)
    stamps = [100.0 + 0.1 * i for i in range(100)]
    stamps.insert(50, wrong_s)
    encoded = []
    for stamp in stamps:
        if gate.wants(round(stamp * S), None):
            gate.accepts(round(stamp * S), None, view(0))
            encoded.append(stamp)
    assert 50 <= len(encoded) <= 53
    assert max(b - a for a, b in itertools.pairwise(encoded) if b < 1e3 and a > 99) < 0.31


def test_two_cameras_with_clocks_seconds_apart_on_one_topic_do_not_flood():
    gate = KeyframeGate(CONFIG)
    kept = encoded = 0
    for i in range(200):  # 10 s
        stamp = round((100 + 0.05 * i + (5 if i % 2 else 0)) * S)
        if gate.wants(stamp, None):
            encoded += 1
            kept += gate.accepts(stamp, None, view(0))
    assert kept == 1 and encoded <= 110


@pytest.mark.parametrize(
    ("rate", "jitter_s", "expected"),
    [
        (5.0, 0.0005, 5.0),
        (5.0, 0.01, 5.0),
        (8.0, 0.002, 5.0),
        (30.0, 0.0005, 5.0),
        (100.0, 0.001, 5.0),
        (4.0, 0.01, 4.0),
        (1.0, 0.1, 1.0),
    ],
)
def test_the_interval_costs_no_frames(rate, jitter_s, expected):
    gate = KeyframeGate(CONFIG)
    random = np.random.default_rng(0)
    encoded = 0
    for i in range(round(60 * rate)):
        stamp = round((100 + i / rate + random.uniform(-jitter_s, jitter_s)) * S)
        if gate.wants(stamp, None):
            gate.accepts(stamp, None, view(0))
            encoded += 1
    assert encoded / 60 == pytest.approx(expected, rel=0.04)


def test_after_a_pause_no_frames_are_made_up_for(blind):
    encoded = [
        t
        for t in (20.0 + 0.05 * i for i in range(20))
        if blind.wants(round(t * S), None) and not blind.accepts(round(t * S), None, view(0))
    ]
    assert encoded == pytest.approx([20.0, 20.2, 20.4, 20.6, 20.8])
