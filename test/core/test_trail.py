# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two corridors whose middles look alike are told apart by the way that led there."""

import dataclasses
import math

import numpy as np
import pytest

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.pose import Pose
from vpr_ros.core.trail import FORGOTTEN, Trail, sequence_score

VIEWS = np.eye(40, dtype=np.float32)
STEP_M = 0.6


@pytest.fixture
def world(make_keyframe):
    """A database of two corridors of ten views, whose last view is the same, and its trail."""
    database, trail = Database(DatabaseConfig()), Trail()

    def visit(number, view, pose, frame="odom"):
        keyframe = make_keyframe(number, number, VIEWS[view], pose=pose, pose_frame=frame)
        place = database.add(keyframe)
        trail.add(place, keyframe.descriptor)
        return place

    for i in range(10):
        visit(i, i, Pose.planar(STEP_M * i, 0, 0))
    for i in range(10):
        visit(10 + i, 10 + i if i < 9 else 9, Pose.planar(20 + STEP_M * i, 5, 0))
    return database, trail, visit


def rotated(pose, angle, shift):
    """The pose in a frame that is turned and shifted: odometry that has drifted."""
    c, s = math.cos(angle), math.sin(angle)
    return Pose.planar(
        c * pose.x - s * pose.y + shift, s * pose.x + c * pose.y - shift, pose.yaw + angle
    )


@pytest.mark.parametrize(("angle", "shift"), [(0.0, 0.0), (0.4, 3.0), (2.5, -40.0)])
def test_the_way_tells_look_alikes_apart(world, angle, shift):
    """Whatever odometry has drifted by since: only the last metres count."""
    database, trail, visit = world
    for i in range(15):
        visit(20 + i, 30, Pose.planar(100 + i, 0, 0))  # elsewhere for a while
    place = None
    for i in range(10):
        pose = rotated(Pose.planar(STEP_M * i, 0.3, 0.1), angle, shift)
        place = visit(40 + i, i, pose)
    found = database.search_older(VIEWS[9], place.stamp_ns, 20)
    alike = [c for c in found if c.score > 0.9]
    assert sorted(c.place.id for c in alike) == [9, 19]
    scores = dict(
        zip([c.place.id for c in alike], trail.scores(place, alike, database), strict=True)
    )
    assert scores[9] > 0.99 and scores[19] < 0.3


def test_without_odometry_the_score_is_the_cosine(world, make_keyframe):
    database, trail, _ = world
    place = database.add(make_keyframe(99, 99, VIEWS[9]))
    trail.add(place, VIEWS[9])
    found = database.search_older(VIEWS[9], place.stamp_ns, 5)
    assert trail.scores(place, found, database) == [c.score for c in found]
    assert trail.drift(place, found[0].place) is None


def test_drift_is_the_way_that_odometry_would_be_off(world):
    database, trail, visit = world
    place = visit(20, 0, Pose.planar(7, 0, 0))
    first = database.get(0)
    driven = 9 * STEP_M + math.hypot(20 - 9 * STEP_M, 5) + 9 * STEP_M
    driven += math.hypot(20 + 9 * STEP_M - 7, 5)
    assert trail.drift(place, first) == pytest.approx((7 - 3) / driven)
    near = visit(21, 0, Pose.planar(2, 0, 0))
    assert trail.drift(near, first) == 0, "within what counts as one place"
    turned = visit(22, 0, Pose.planar(7, 0, math.pi))
    way_m = driven + 5 + 5
    assert trail.drift(turned, first) == pytest.approx((180 - 45) / (3 * way_m))
    # The views themselves show the turn: then odometry is right.
    assert trail.drift(turned, first, turn_deg=170.0) == pytest.approx((7 - 3) / (driven + 10))
    assert trail.drift(place, first, turn_deg=100.0) == pytest.approx((100 - 15) / (3 * driven))


@pytest.mark.parametrize("length", [1.0, 1.9])  # of the quaternions; 0.5 to 2 are taken
def test_later_closures_must_fit_the_accepted_ones(world, length):
    """After a long way odometry allows nearly everything, but not from one closure to the next."""
    database, trail, visit = world
    for i in range(30):
        visit(20 + i, 30, Pose.planar(10.0 * i, -10, 0))

    def back(number, i):
        pose = rotated(Pose.planar(STEP_M * i, 0.3, 0.1), 2.5, 30)
        return visit(
            number, i, dataclasses.replace(pose, qz=length * pose.qz, qw=length * pose.qw)
        )

    trail.pin(back(60, 0), database.get(0))
    place = back(61, 1)
    before = trail.drift(place, database.get(11))
    assert before < 0.1, "one closure may be wrong"
    trail.pin(place, database.get(1))
    place = back(62, 2)
    assert trail.drift(place, database.get(2)) < 0.1
    assert trail.drift(place, database.get(12)) > 5 * before  # twenty metres off in some forty
    trail.pin(place, database.get(12))
    assert trail.drift(back(63, 3), database.get(3)) < 0.1, "two of three agree with it"
    assert trail.drift(back(64, 9), database.get(9)) < 0.1, "some metres on as well"


def test_another_frame_starts_a_new_trail(world):
    database, trail, visit = world
    place = visit(20, 0, Pose.planar(0, 0, 0), frame="map")
    assert trail.drift(place, database.get(0)) is None


def test_a_trail_remembers_no_more_ways_than_there_are_keyframes(make_keyframe):
    database, trail = Database(DatabaseConfig(max_keyframes=50)), Trail()
    for i in range(1000):
        keyframe = make_keyframe(i, i, VIEWS[i % 40], pose=Pose.planar(STEP_M * i, 0, 0))
        place = database.add(keyframe)
        trail.add(place, keyframe.descriptor)
        trail.shrink(database)
        assert len(trail._driven_m) <= 50 + FORGOTTEN
    first = database.search(VIEWS[0], 1)[0].place  # the oldest is never evicted
    assert trail.drift(place, first) == pytest.approx((999 * STEP_M - 3) / (999 * STEP_M))


@pytest.mark.parametrize("pace", [1, 2, -1, 0.5])
def test_a_sequence_is_similar_at_any_pace(make_keyframe, pace):
    """Without odometry: what lies in order with a match is compared with the last keyframes."""
    database = Database(DatabaseConfig())
    places = [database.add(make_keyframe(i, i, view)) for i, view in enumerate(VIEWS)]
    newer = database.add(make_keyframe(40, 100, VIEWS[0]))
    known = [(newer, VIEWS[round(20 - pace * i)], 0.0) for i in range(1, 8)]
    assert sequence_score(known, places[20], database) == pytest.approx(1.0)
    assert sequence_score(known, places[35], database) < 0.2
    assert sequence_score(known[::-1], places[20], database) < 0.6
    assert sequence_score(known[:2], places[20], database) == pytest.approx(2 / 7)
    assert sequence_score([], places[20], database) == 0.0
    evicted = dataclasses.replace(places[20], session=7)
    assert sequence_score(known, evicted, database) == 0.0, "with all around it"
    own = [(places[i], VIEWS[i], 0.0) for i in range(19, 12, -1)]  # of the way back to the match
    assert all(sequence_score(own, places[i], database) == 0.0 for i in (9, 12, 15))


def test_a_sequence_counts_from_what_the_whole_map_resembles(make_keyframe):
    """Where everything looks alike, the same cosines say less; equal views still say all."""
    database = Database(DatabaseConfig())
    places = [database.add(make_keyframe(i, i, view)) for i, view in enumerate(VIEWS)]
    views = (0.8 * VIEWS[10:17] + 0.6 * VIEWS[30:37])[::-1]

    def score(views, background):
        before = [(places[-1], view, background) for view in views]
        return sequence_score(before, places[17], database)

    assert [score(views, 0.0), score(views, 0.5)] == pytest.approx([0.8, 0.6], abs=1e-3)
    assert score(VIEWS[16:9:-1], 1.0) <= 0.0, "nothing was known yet"
