# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Waking up in a saved map: a corridor of keyframes a metre apart."""

import dataclasses
import math

import numpy as np
import pytest

from vpr_ros.core.pose import Pose
from vpr_ros.mapping.graph_file import map_places
from vpr_ros.mapping.relocalization import (
    CameraConfig,
    RelocalizationConfig,
    Relocalizer,
    State,
    camera_turn,
)

MAP = {100 + i: Pose.planar(float(i), 0.0, 0.0) for i in range(200)}
AHEAD, ZERO = Pose.planar(0.0, 0.0, 0.0), Pose.planar(7.0, -3.0, 1.0)


def drive(relocalizer, matches, odometry=True, start=ZERO):
    """Keyframes a second apart, straight on; matches: ids on the map, or None; yields answers."""
    first = max(relocalizer._keyframes, default=0) + 1
    for index, match in enumerate(matches):
        pose = start.compose(Pose.planar(float(index), 0.0, 0.0)) if odometry else None
        stamp_ns = (first + index) * 10**9
        relocalizer.add_keyframe(first + index, stamp_ns, pose, "odom")
        if match is not None:
            assert relocalizer.add_closure(first + index, match, 0.99, AHEAD)
        yield relocalizer.localization


def test_two_closures_that_odometry_joins_locate_the_robot():
    answers = list(drive(Relocalizer(MAP), [None, 150, 151, None, None]))
    assert [a.state for a in answers] == [
        State.LOST,
        State.CANDIDATES,
        State.LOCATED,
        State.LOCATED,
        State.LOCATED,
    ]
    assert answers[2].pose.distance_m(MAP[151]) < 1e-6
    assert answers[4].pose.distance_m(MAP[153]) < 1e-6  # odometry leads on
    assert answers[2].quality == pytest.approx(0.9999)
    assert answers[4].position_m > answers[2].position_m


def test_without_odometry_it_takes_one_more():
    states = [a.state for a in drive(Relocalizer(MAP), [150, 151, 152], odometry=False)]
    assert states == [State.CANDIDATES, State.CANDIDATES, State.LOCATED]


@pytest.mark.parametrize("odometry", [True, False])
def test_closures_in_different_places_locate_nothing(odometry):
    answers = list(drive(Relocalizer(MAP), [110, 150, 190, 120, 170, 135] * 3, odometry))
    assert {a.state for a in answers} == {State.CANDIDATES}


def test_two_wrong_closures_among_right_ones_change_nothing():
    answers = list(drive(Relocalizer(MAP), [150, 151, 110, 153, 111, 155, 156]))
    assert [a.state for a in answers[1:]] == [State.LOCATED] * 6
    for index, answer in enumerate(answers[1:], 1):
        assert answer.pose.distance_m(MAP[150 + index]) < 1e-6


def test_a_robot_that_was_carried_away_is_found_and_said_to_have_moved():
    relocalizer = Relocalizer(MAP, RelocalizationConfig(window=4))
    assert [a.state for a in drive(relocalizer, [150, 151])][-1] == State.LOCATED
    answers = list(drive(relocalizer, [None, 120, 121, 122, 123], start=AHEAD))
    assert State.MOVED in [a.state for a in answers]
    assert answers[-1].state == State.LOCATED
    assert answers[-1].pose.distance_m(MAP[123]) < 1e-6


def test_nothing_seen_for_long_is_lost_and_a_restart_as_well():
    relocalizer = Relocalizer(MAP, RelocalizationConfig(lost_after=5))
    answers = list(drive(relocalizer, [150, 151] + 12 * [None]))
    assert [answers[6].state, answers[-1].state] == [State.LOCATED, State.LOST]
    list(drive(relocalizer, [160, 161]))
    relocalizer.restart()
    assert relocalizer.localization.state == State.LOST
    assert relocalizer.localization.pose is None


def test_the_turn_between_the_views_and_the_mean_of_several():
    relocalizer, rng = Relocalizer(MAP), np.random.default_rng(0)
    for index in range(6):  # the robot drives along the map, looking aside by 30 degrees
        relocalizer.add_keyframe(index + 1, index * 10**9, Pose.planar(index, 0.0, 0.0), "odom")
        turn = Pose.planar(0.0, 0.0, math.radians(30 + rng.normal(0, 2)))
        relocalizer.add_closure(index + 1, 150 + index, 0.99, turn)
    pose = relocalizer.localization.pose
    assert math.degrees(pose.yaw) == pytest.approx(30, abs=3)


def test_the_map_says_how_far_apart_two_views_of_a_place_are(tmp_path):
    rng, lines = np.random.default_rng(0), ["vpr_ros pose graph 1"]
    for index in range(200):
        match = Pose.planar(5.0 * index, 0.0, 1.0)  # and the query looks 90 degrees to the left
        off = Pose.planar(*rng.normal(0, 0.4, 2), math.pi / 2 + math.radians(rng.normal(0, 3)))
        for id, pose in ((2 * index + 1, match), (2 * index + 2, match.compose(off))):
            values = " ".join(map(str, dataclasses.astuple(pose)))
            lines.append(f"keyframe {id} {id} 0 {values} {values}")
    closures = [f"closure {2 * k + 2} {2 * k + 1} 1 0 0 0.70710678 0.70710678" for k in range(200)]
    refused = ["closure 2 399 0 0 0 0 1"]
    graph = tmp_path / "a.vprgraph"
    graph.write_text("\n".join([*lines, *closures, *refused]))
    poses, offsets = map_places(tmp_path / "a.vprmap")
    assert offsets.position_m == pytest.approx(0.4, rel=0.1)
    assert offsets.rotation_deg == pytest.approx(3, rel=0.1)
    relocalizer = Relocalizer(poses)
    for relocalizer.offsets in (None, offsets):
        relocalizer.restart()
        for index in range(2):
            odometry = Pose.planar(5.0 * index, 0.0, 0.0)
            relocalizer.add_keyframe(1000 + index, index * 3 * 10**9, odometry, "odom")
            turned = Pose.planar(0.0, 0.0, -1.0)
            relocalizer.add_closure(1000 + index, 2 * index + 1, 0.99, turned)
        expected = offsets.position_m if relocalizer.offsets else 1.0
        assert relocalizer.localization.position_m == pytest.approx(expected / math.sqrt(2))
    graph.write_text("\n".join([*lines, *closures[:19], *refused]))
    assert map_places(tmp_path / "a.vprmap")[1] is None


def test_a_closure_said_twice_locates_nothing():
    """Two databases answer one keyframe: with the same place, or with that beside it."""
    relocalizer = Relocalizer(MAP)
    answers = drive(relocalizer, [150, None, 152])
    next(answers)
    for match in (150, 151, 150):
        relocalizer.add_closure(1, match, 0.99, AHEAD)
        assert relocalizer.localization.state == State.CANDIDATES
    assert [a.state for a in answers] == [State.CANDIDATES, State.LOCATED]
    before = relocalizer.localization
    relocalizer.add_closure(3, 152, 0.99, AHEAD)
    assert relocalizer.localization is before and before.agreeing == 2


def test_closures_of_unknown_keyframes_are_no_sightings():
    relocalizer = Relocalizer(MAP)
    relocalizer.add_keyframe(1, 0, None, "")
    assert not relocalizer.add_closure(1, 99, 0.99, AHEAD)  # not on the map
    assert not relocalizer.add_closure(2, 150, 0.99, AHEAD)  # a keyframe that never came
    assert relocalizer.localization.state == State.LOST


@pytest.mark.parametrize("yaw", [0.0, 90.0, -30.0])
def test_a_turn_of_the_camera_is_one_of_the_robot(yaw):
    # The robot turns left by 20 degrees; the image's y axis points down, so the camera by -20.
    half = math.radians(-10)
    seen = Pose(0.0, 0.0, 0.0, 0.0, math.sin(half), 0.0, math.cos(half))
    turn = camera_turn(seen, CameraConfig(yaw_deg=yaw))
    assert math.degrees(turn.yaw) == pytest.approx(20.0)
