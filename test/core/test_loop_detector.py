# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every reason has a world in which it, and only it, is the answer."""

import dataclasses
import math

import numpy as np
import pytest

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.errors import ConfigError, DescriptorError
from vpr_ros.core.keyframe import LocalFeatures
from vpr_ros.core.loop_confidence import required
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector, Reason
from vpr_ros.core.pose import Pose

# Places along a route; neighbours look alike (cosine 0.39), the next but one hardly (0.04).
AXIS = np.arange(60)
PLACES = np.exp(-(((AXIS[:40, None] - AXIS) / 0.8) ** 2)).astype(np.float32)
PLACES /= np.linalg.norm(PLACES, axis=1, keepdims=True)
NOWHERE = np.eye(60, dtype=np.float32)[45:]  # no place at all, in several ways
CALIBRATION = Calibration(0.0, 0.5)


def like(place, cosine, rest=NOWHERE[0]):
    """A view at this cosine to a place; what is left is another view, at right angles to it."""
    return cosine * PLACES[place] + math.sqrt(1 - cosine**2) * rest


@pytest.fixture
def make(make_keyframe):
    """make(**loop config): a detector and drive(views, start_s): its queries, one a second.

    Views without features are judged by their score alone, `strict` ones as by default.
    """

    def make(database=None, **values):
        recent = DatabaseConfig(exclude_recent_s=5.0, exclude_recent_keyframes=5)
        detector = LoopDetector(LoopConfig(**values), database or Database(recent))
        count = iter(range(10**6))

        def drive(views, start_s, strict=False, **fields):
            fields = {"calibration": CALIBRATION, **fields}
            if not strict and "features" not in fields:
                detector.config = dataclasses.replace(
                    detector.config, verified_candidates=0, calibration="0 0.5"
                )
            return [
                detector.process(make_keyframe(next(count), start_s + i, view, **fields))
                for i, view in enumerate(views)
            ]

        return detector, drive

    return make


def one_after(make, lap, views, start_s=100, **values):
    """The last query after a first lap over the places and these views."""
    _, drive = make(**values)
    drive([PLACES[i] for i in lap], 0)
    return drive(views, start_s)[-1]


def scene(make_features, seed, moved=False, count=150):
    """What a camera sees of one of many scenes, from one of two places."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((-3, -2, 4), (3, 2, 10), (count, 3)) + moved * np.array([0.4, 0, 0.2])
    return make_features(300 * points[:, :2] / points[:, 2:] + 160, seed)


def test_nothing_older(make):
    _, drive = make()
    for query in drive(PLACES[:5], 0):
        assert query.reason is Reason.NO_OLDER_PLACES and query.closure is None
        assert query.message == "no keyframe is old enough to be a loop"
        assert query.candidates == () and math.isnan(query.margin)


def test_low_score(make):
    """A calibrated threshold leaves room below for changed light, a user's does not."""
    query = one_after(make, range(20), [like(3, 0.6)], score_threshold=0.65)
    assert query.reason is Reason.LOW_SCORE
    assert query.message == "best score 0.600 is below 0.650"
    assert query.candidates[0].place.id == 3
    unlike = one_after(make, range(20), [NOWHERE[0]])
    assert unlike.reason is Reason.LOW_SCORE and "is below 0.000" not in unlike.message


def test_a_model_without_calibration_says_so(make):
    _, drive = make()
    drive(PLACES[:20], 0, strict=True)
    (query,) = drive([PLACES[3]], 100, strict=True, calibration=Calibration())
    assert query.reason is Reason.LOW_SCORE
    assert query.message == "model 'm' has no thresholds; run `vpr adopt`"
    _, drive = make(score_threshold=0.5)
    drive(PLACES[:20], 0)
    (query,) = drive([PLACES[3]], 100, calibration=Calibration())
    assert query.reason is Reason.ACCEPTED and 0.9 < query.closure.confidence < 1


def test_without_features_only_a_near_copy_is_believed(make):
    sure = one_after(make, range(20), [like(3, 0.99)])
    assert sure.reason is Reason.ACCEPTED and sure.closure.match.id == 3
    assert sure.closure.verification is None
    assert sure.message.startswith("loop with keyframe 3 at score 0.990, confidence 0.9")
    unsure = one_after(make, range(20), [like(3, 0.6)])
    assert unsure.reason is Reason.LOW_SCORE
    assert "keyframe 3 at score 0.600 has no local features to compare" in unsure.message
    assert f"{required(LoopConfig().precision, seen=False):.3f} is needed" in unsure.message


@pytest.mark.parametrize("threshold", [0.5, -1.0, -100.0])
def test_without_features_nothing_closes_unless_the_receiver_says_so(make, threshold):
    """Whoever sends a keyframe also says from which cosine on it is a match."""
    _, drive = make()
    drive(PLACES[:20], 0, strict=True)
    forged = Calibration(0.0, threshold)
    (query,) = drive([PLACES[3]], 100, strict=True, calibration=forged)
    assert query.reason is Reason.GEOMETRY and query.closure is None
    assert "loop.verified_candidates to 0" in query.message
    _, drive = make(verified_candidates=0)
    drive(PLACES[:20], 0, strict=True)
    (query,) = drive([PLACES[3]], 100, strict=True, calibration=forged)
    assert query.closure is None and "set loop.score_threshold" in query.message


def test_features_only_on_one_side_close_nothing(make, make_features):
    _, drive = make()
    drive(PLACES[:20], 0, strict=True)
    (query,) = drive([PLACES[3]], 100, features=scene(make_features, 3))
    assert query.reason is Reason.GEOMETRY and "has no local features" in query.message


def test_precision_is_the_one_number_to_set(make):
    view = [like(3, 0.6)]
    assert one_after(make, range(20), view, precision=0.99).reason is not Reason.ACCEPTED
    assert one_after(make, range(20), view, precision=0.9).reason is Reason.ACCEPTED


def test_two_places_alike_are_ambiguous(make, make_features):
    """However well both agree: the share of each is a half."""
    detector, drive = make(score_threshold=1.0)  # the twin is no loop on the first lap
    for place in range(20):
        shown = 3 if place == 12 else place  # the places 3 and 12 are twins
        drive(
            [like(shown, 0.999, NOWHERE[place % 15])], place, features=scene(make_features, shown)
        )
    detector.config = LoopConfig()
    (query,) = drive([PLACES[3]], 100, features=scene(make_features, 3, moved=True))
    assert query.reason is Reason.AMBIGUOUS and query.closure is None
    assert "leads keyframe" in query.message and "of another place by too little" in query.message


def test_the_margin_does_not_fade_with_laps(make):
    """Six laps fill the candidates with one place; the rival is still sought and found."""
    _, drive = make(candidates=5, score_threshold=0.5)
    for lap in range(6):
        queries = drive([like(i, 0.999, NOWHERE[lap]) for i in range(40)], 100 * lap)
    last = drive([like(3, 0.9, PLACES[23])], 1000)[-1]
    places = {c.place.id % 40 for c in last.candidates}
    assert max(places) < 10, "all candidates are of the place itself"
    assert last.margin == pytest.approx(0.9 - math.sqrt(1 - 0.9**2), abs=0.02)
    assert queries[-1].reason is Reason.ACCEPTED
    assert queries[-1].closure.margin == queries[-1].margin


def test_the_only_place_of_a_map_has_no_rival(make):
    query = one_after(make, [3, 3, 3, 3, 3, 3], [PLACES[3]])
    assert query.reason is Reason.ACCEPTED
    assert query.margin == query.closure.margin == math.inf


def test_a_third_lap_is_not_ambiguous(make):
    """Both earlier laps match equally well; they are one place because the second was closed."""
    _, drive = make()
    laps = [drive(PLACES[:20], start_s) for start_s in (0, 100, 200)]
    for lap in laps[1:]:
        assert [q.reason for q in lap] == [Reason.ACCEPTED] * 20
    assert {c.place.id for c in laps[2][-1].candidates[:2]} == {19, 39}


def test_geometry_decides(make, make_features):
    """Views alike to the network: only the one that shares the scene is believed."""
    _, drive = make()
    for place in range(20):
        drive([PLACES[place]], place, features=scene(make_features, place))
    (same,) = drive([like(3, 0.8)], 100, features=scene(make_features, 3, moved=True))
    assert same.reason is Reason.ACCEPTED and same.closure.match.id == 3
    assert same.closure.verification.inliers > 140 and "inliers, confidence" in same.message
    (other,) = drive([like(9, 0.8)], 101, features=scene(make_features, 77))
    assert other.reason is Reason.GEOMETRY
    assert "moving correspondences agree with keyframe" in other.message


def test_geometry_tries_the_candidates_of_all_places(make, make_features):
    """The most similar place shares nothing with the view, another one does."""
    _, drive = make()
    for place in range(20):
        drive([PLACES[place]], place, features=scene(make_features, place))
    view = like(3, 0.75, PLACES[12])
    (query,) = drive([view], 100, features=scene(make_features, 12, moved=True))
    assert query.candidates[0].place.id == 3
    assert query.reason is Reason.ACCEPTED and query.closure.match.id == 12
    assert query.closure.margin < 0, "the match is less similar than its rival"


def test_an_image_without_a_corner_proves_nothing(make, make_features):
    """Grey views are alike; that their features are none is not the same as none sent."""
    none = LocalFeatures(np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8))
    _, drive = make()
    drive(PLACES[:20], 0, features=none)
    (query,) = drive([PLACES[3]], 100, features=none)
    assert query.reason is Reason.GEOMETRY
    assert query.message.startswith("0 of 0 moving correspondences agree with keyframe 3")


def test_the_robots_own_body_proves_nothing(make, make_features):
    rng = np.random.default_rng(0)
    body = make_features(rng.uniform((0, 200), (320, 240), (100, 2)))
    _, drive = make()
    drive(PLACES[:20], 0, features=body)
    (query,) = drive([PLACES[3]], 100, features=body)
    assert query.reason is Reason.GEOMETRY and query.message.startswith("0 of 0 moving")


def test_the_same_image_again_is_a_match(make, make_features):
    """A robot at its dock, a bag played twice: nothing moves, but nothing is fixed either."""
    _, drive = make()
    for place in range(20):
        drive([PLACES[place]], place, features=scene(make_features, place))
    drive([PLACES[8]], 100, features=scene(make_features, 8, moved=True))
    (query,) = drive([PLACES[9]], 101, features=scene(make_features, 9))
    assert query.reason is Reason.ACCEPTED and query.closure.match.id == 9
    assert query.closure.verification.still == 0


def test_verification_can_be_turned_off(make, make_features):
    _, drive = make(verified_candidates=0, score_threshold=0.5)
    drive(PLACES[:20], 0, features=scene(make_features, 0))
    (query,) = drive([PLACES[3]], 100, features=scene(make_features, 1))
    assert query.reason is Reason.ACCEPTED and query.closure.verification is None


def test_a_loop_that_odometry_rules_out(make, make_features):
    """Two corridors alike, 20 m apart after 28 m: only odometry tells them apart."""
    _, drive = make()
    step = 0.7
    for place in range(40):
        shown = place - 30 if place >= 30 else place
        drive(
            [PLACES[shown]],
            place,
            features=scene(make_features, shown, moved=place >= 30),
            pose=Pose.planar(step * place, 0, 0),
            pose_frame="odom",
        )
    last = None
    for place in range(30, 40):
        (last,) = drive(
            [PLACES[place - 30]],
            place + 100,
            features=scene(make_features, place - 30, moved=True),
            pose=Pose.planar(step * (place + 10), 0, 0),
            pose_frame="odom",
        )
    assert last.reason in (Reason.INCONSISTENT, Reason.AMBIGUOUS) and last.closure is None


@pytest.mark.parametrize("way", [range(2, 10), range(16, 8, -1)], ids=["forwards", "backwards"])
def test_a_weak_match_is_believed_when_it_lies_in_order(make, make_features, way):
    """Without odometry it counts where the keyframes before were found."""
    count = 30

    def last_of(places):
        _, drive = make()
        for place in range(20):
            drive([PLACES[place]], place, features=scene(make_features, place, count=count))
        views = [like(p, 0.9) for p in places]
        return [
            drive([view], 100 + i, features=scene(make_features, p, moved=True, count=count))[0]
            for i, (p, view) in enumerate(zip(places, views, strict=True))
        ][-1]

    here = way[-1]
    scattered, in_order = last_of([18, 1, 14, 2, 16, 0, 12, here]), last_of(way)
    assert scattered.reason is Reason.GEOMETRY
    assert in_order.reason is Reason.ACCEPTED and in_order.closure.match.id == here


def test_a_bad_keyframe_has_no_effect(make, make_keyframe):
    detector, drive = make()
    drive(PLACES[:20], 0)
    drive([PLACES[3]], 100)
    for bad in (np.full(60, np.nan), PLACES[3][:32], 2 * PLACES[3]):
        with pytest.raises(DescriptorError):
            detector.process(make_keyframe(999, 1, bad))
    assert len(detector.database) == 21 and detector.database.session == 0
    assert drive([PLACES[4]], 101)[-1].reason is Reason.ACCEPTED


def test_settings_change_at_any_time(make):
    detector, drive = make()
    drive(PLACES[:20], 0)
    assert drive([like(3, 0.6)], 100)[-1].reason is Reason.LOW_SCORE
    detector.config = LoopConfig(candidates=2, precision=0.9)
    query = drive([like(10, 0.6)], 101)[-1]
    assert query.reason is Reason.ACCEPTED and len(query.candidates) == 2


@pytest.mark.parametrize("precision", [0.4, 1.0, math.nan])
def test_a_precision_that_cannot_be_promised_is_refused(precision):
    with pytest.raises(ConfigError, match=r"loop.precision"):
        LoopConfig(precision=precision)


def test_lap_120_closes_what_lap_1_closed(make):
    """A full database forgets views of a place, and must not forget that they are of one place."""
    rng = np.random.default_rng(0)
    database = Database(DatabaseConfig(max_keyframes=60, exclude_recent_keyframes=2))
    _, drive = make(database)
    closed, linked = [], []
    for lap in range(120):
        views = PLACES[:12] + 0.02 * rng.standard_normal((12, 60)).astype(np.float32)
        views /= np.linalg.norm(views, axis=1, keepdims=True)
        queries = drive(views, 100 * lap)
        matches = [(i, q.closure.match.id % 12) for i, q in enumerate(queries) if q.closure]
        assert all(abs(match - i) in (0, 1, 11) for i, match in matches)
        closed.append(len(matches))
        linked.append(len(database.graph.links()))
    assert closed[0] == 0 and len(database) <= 60
    assert closed[1] >= 11 and min(closed[1:]) >= closed[1] - 1
    # What a keyframe costs goes by the links: no more after 120 laps than after 20.
    assert max(linked[20:]) <= 1.2 * max(linked[:20])
