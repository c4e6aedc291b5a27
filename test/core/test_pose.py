# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Poses between poses, and where the robot was when."""

import dataclasses
import math

import pytest

from vpr_ros.core.pose import Pose, PoseBuffer

MS = 1_000_000
IDENTITY = Pose.planar(0, 0, 0)


def scaled(pose, factor):
    q = {name: getattr(pose, name) * factor for name in ("qx", "qy", "qz", "qw")}
    return dataclasses.replace(pose, **q)


@pytest.mark.parametrize("factor", [1.0, -1.0, 0.98])
@pytest.mark.parametrize("degrees", [0, 1, 20, -90, 179])
def test_yaw_and_angle(degrees, factor):
    pose = scaled(Pose.planar(1, 2, math.radians(degrees)), factor)
    assert math.degrees(pose.yaw) == pytest.approx(degrees)
    assert pose.angle_deg(IDENTITY) == pytest.approx(abs(degrees), abs=1e-5)
    assert pose.angle_deg(pose) == pytest.approx(0, abs=1e-5)


def test_distance_is_spatial():
    assert Pose(1, 2, 2, 0, 0, 0, 1).distance_m(IDENTITY) == 3.0


@pytest.mark.parametrize("sign", [1, -1])
def test_between_takes_the_short_way(sign):
    a = Pose.planar(0, 0, math.radians(170))
    b = scaled(Pose.planar(2, 4, math.radians(-170)), sign)
    middle = a.between(b, 0.5)
    assert (middle.x, middle.y) == (1, 2)
    assert abs(math.degrees(middle.yaw)) == pytest.approx(180)
    for end, t in ((a, 0), (b, 1)):
        assert a.between(b, t).distance_m(end) == 0
        assert a.between(b, t).angle_deg(end) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("field", ["x", "z", "qx", "qw"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_no_pose(field, value):
    assert not dataclasses.replace(IDENTITY, **{field: value}).is_valid


def test_an_unset_quaternion_is_no_pose():
    assert IDENTITY.is_valid and not Pose(0, 0, 0, 0, 0, 0, 0).is_valid


@pytest.fixture
def buffer():
    """Along x at 1 m/s: x = 0 m at 0 ms, 0.1 m at 100 ms, then a gap until 1000 ms."""
    buffer = PoseBuffer(tolerance_s=0.2)
    for ms in (0, 100, 1000):
        buffer.add(ms * MS, Pose.planar(ms / 1000, 0, 0))
    return buffer


@pytest.mark.parametrize(
    ("ms", "x"),
    [
        (0, 0.0),
        (50, 0.05),
        (100, 0.1),
        (150, 0.1),  # in a gap: the nearest, nothing invented
        (300, 0.1),
        (301, None),
        (799, None),
        (800, 1.0),
        (1200, 1.0),
        (1201, None),
        (-200, 0.0),
        (-201, None),
    ],
)
def test_pose_at_a_stamp(buffer, ms, x):
    pose = buffer.at(ms * MS)
    assert (pose and pose.x) == (None if x is None else pytest.approx(x))


def test_a_clock_that_jumps_back_starts_the_buffer_anew(buffer):
    for second in (100, 101, 102):
        buffer.add(second * 1000 * MS, Pose.planar(5, 0, 0))
    buffer.add(50 * MS, Pose.planar(9, 0, 0))
    assert buffer.at(50 * MS).x == 9 and buffer.at(0).x == 9
    assert buffer.at(1000 * MS) is None and buffer.at(102_000 * MS) is None


def test_odometry_out_of_order_finds_its_place(buffer):
    buffer.add(50 * MS, Pose.planar(0.07, 0, 0))
    assert buffer.at(50 * MS).x == 0.07 and buffer.at(1000 * MS).x == 1.0
    assert buffer.at(75 * MS).x == pytest.approx(0.085)


def test_a_pose_from_the_far_future_hides_no_other(buffer):
    buffer.add(10**18, Pose.planar(9, 0, 0))
    buffer.add(1100 * MS, Pose.planar(1.1, 0, 0))
    buffer.add(1200 * MS, Pose.planar(1.2, 0, 0))
    assert buffer.at(1150 * MS).x == pytest.approx(1.15) and buffer.at(50 * MS).x == 0.05


def test_invalid_poses_and_repeated_stamps(buffer):
    buffer.add(1100 * MS, Pose.planar(math.nan, 0, 0))
    assert buffer.at(1100 * MS).x == 1.0
    buffer.add(1000 * MS, Pose.planar(2, 0, 0))
    assert buffer.at(1000 * MS).x == 2.0, "the last one counts"


def test_only_the_newest_are_kept():
    buffer = PoseBuffer(tolerance_s=0.01, capacity=3)
    assert buffer.at(0) is None
    for i in range(5):
        buffer.add(i * 1000 * MS, Pose.planar(i, 0, 0))
    assert [buffer.at(i * 1000 * MS) is None for i in range(5)] == [True] * 2 + [False] * 3


def drive(buffer, xs, start=0, frame="odom"):
    for number, x in enumerate(xs):
        buffer.add((start + number * 100) * MS, Pose.planar(x, 0, 0), frame)


def test_one_wild_pose_is_ignored_and_a_lasting_jump_starts_anew():
    buffer = PoseBuffer()
    drive(buffer, [0.0, 0.1, 80.0, 0.3])
    assert buffer.at(200 * MS).x == pytest.approx(0.2) and buffer.jumps == 0
    drive(buffer, [80.4, 80.5, 80.6], start=400)
    assert buffer.jumps == 1
    assert buffer.at(550 * MS).x == pytest.approx(80.55)
    assert buffer.at(290 * MS) is None, "nothing is interpolated across the jump"


def test_a_fast_robot_does_not_jump():
    buffer = PoseBuffer()
    drive(buffer, [4.0 * number for number in range(20)])  # 40 m/s
    assert buffer.jumps == 0 and buffer.at(1850 * MS).x == pytest.approx(74)


def test_poses_of_two_frames_are_never_mixed():
    buffer = PoseBuffer()
    drive(buffer, [0.0, 0.1], frame="odom")
    drive(buffer, [0.5, 0.6], start=200, frame="map")
    assert buffer.frame == "map" and buffer.at(100 * MS).x == 0.5


@pytest.mark.parametrize(
    ("offset_ms", "words"),
    [
        (-600, "0.6 s before the image's; at most 0.2 s"),
        (600, "0.6 s after the image's"),
        (-(10**9), "1e+06 s before"),
    ],
)
def test_why_there_is_no_pose(offset_ms, words):
    buffer = PoseBuffer()
    assert buffer.why_none(0) == "", "odometry is optional"
    drive(buffer, [0.0])
    assert buffer.at(-offset_ms * MS) is None
    assert words in buffer.why_none(-offset_ms * MS)
    buffer.add(0, Pose(0, 0, 0, 0, 0, 0, 0))
    assert "quaternion of zeros" in buffer.why_none(0)
