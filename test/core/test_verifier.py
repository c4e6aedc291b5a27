# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two views of one scene agree, two scenes do not, and the motion comes out right."""

import csv
import dataclasses

import cv2
import numpy as np
import pytest

from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.keyframe import LocalFeatures
from vpr_ros.core.verifier import comparable, fixed_features, verify

K_QUERY = np.array([[300.0, 0, 160], [0, 310, 120], [0, 0, 1]])
K_MATCH = np.array([[400.0, 0, 200], [0, 390, 150], [0, 0, 1]])
SIGNIFICANT = 12.0  # one agreement in 10^12 by chance


def rotation(degrees):
    """About the vertical axis of the camera, y."""
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def views(count, R, t, seed=0, outliers=0, calibrated=True):
    """Features of random points in the query camera and in the match camera.

    A point X of the query camera is R X + t in the match camera: T_match_query = (R, t).
    """
    rng = np.random.default_rng(seed)
    points = rng.uniform((-3, -2, 4), (3, 2, 10), (count, 3))
    descriptors = rng.integers(0, 256, (count, 32), np.uint8)

    def project(cloud, matrix):
        pixels = cloud @ matrix.T
        return (pixels[:, :2] / pixels[:, 2:]).astype(np.float32)

    query, match = project(points, K_QUERY), project(points @ R.T + t, K_MATCH)
    match[:outliers] = rng.uniform((0, 0), (400, 300), (outliers, 2))
    shuffled = rng.permutation(count)
    return (
        LocalFeatures(query, descriptors, camera_matrix=K_QUERY if calibrated else None),
        LocalFeatures(
            match[shuffled],
            descriptors[shuffled],
            camera_matrix=K_MATCH if calibrated else None,
        ),
    )


@pytest.mark.parametrize("outliers", [0, 40])
@pytest.mark.parametrize(
    ("degrees", "t"), [(0, (1.0, 0, 0)), (10, (0.3, 0.1, 0.9)), (-15, (0, 0, -1.0))]
)
def test_the_motion_between_two_views_is_recovered(degrees, t, outliers):
    R = rotation(degrees)
    found = verify(*views(150, R, np.array(t), outliers=outliers), motion=True)
    assert 150 - outliers - 5 <= found.inliers <= 150 - 0.7 * outliers
    assert found.significance > 100 and found.correspondences == found.features == 150
    query, match = views(150, R, np.array(t), outliers=outliers)
    assert len(found.pairs) == found.inliers
    same = query.descriptors[found.pairs[:, 0]] == match.descriptors[found.pairs[:, 1]]
    assert same.all(), "the pairs are of the same points"
    pose = found.T_match_query
    turn = np.arccos(np.clip((np.trace(pose.rotation @ R.T) - 1) / 2, -1, 1))
    assert np.degrees(turn) < 1 and found.turn_deg == pytest.approx(abs(degrees), abs=1)
    assert pose.direction @ np.array(t) / np.linalg.norm(t) > np.cos(np.radians(3))
    assert np.linalg.norm(pose.direction) == pytest.approx(1)


def test_without_camera_matrices_the_views_agree_but_give_no_motion():
    query, match = views(150, rotation(10), np.array([0.3, 0, 0.9]), calibrated=False)
    found = verify(query, match, motion=True)
    assert found.inliers > 140 and found.T_match_query is None and found.turn_deg == 0
    one_known = LocalFeatures(query.keypoints, query.descriptors, camera_matrix=K_QUERY)
    assert verify(one_known, match, motion=True).T_match_query is None


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_same_features_in_other_places_do_not_agree(calibrated):
    pair = views(60, np.eye(3), np.array([1.0, 0, 0]), outliers=60, calibrated=calibrated)
    assert verify(*pair).significance < SIGNIFICANT


def test_other_descriptors_are_no_correspondences(make_features):
    points = np.random.default_rng(0).uniform(0, 300, (100, 2))
    assert verify(make_features(points, 1), make_features(points, 2)).inliers == 0


@pytest.mark.parametrize("counts", [(0, 0), (0, 50), (50, 0), (1, 1), (7, 7)])
def test_too_few_to_say(make_features, counts):
    points = np.random.default_rng(0).uniform(0, 300, (50, 2))
    query, match = (make_features(points[:count]) for count in counts)
    assert verify(query, match).inliers == 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("matrix", [None, K_QUERY, np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_degenerate_points_raise_nothing(make_features, matrix):
    rng = np.random.default_rng(0)
    row = np.arange(9.0)
    shapes = [np.zeros((9, 2)), np.stack([row, 2 * row], 1), np.full((9, 2), np.nan)]
    shapes += [rng.uniform(0, 300, (count, 2)) for count in [8, 9, 10, 11, 12] * 20]
    for points in shapes:
        other = rng.uniform(0, 300, points.shape)
        pair = [make_features(p, camera_matrix=matrix) for p in (points, other)]
        for motion in (False, True):
            assert verify(*pair, motion=motion).significance < SIGNIFICANT


def test_real_revisits_part_from_lookalikes(shared_data):
    folder = shared_data / "rtabmap_samples"
    rows = list(csv.DictReader((folder / "revisits.csv").open()))
    pairs = [(int(r["query"]), int(r["match"])) for r in rows if r["match"]]
    extractor = FeatureExtractor(FeatureConfig())
    features = {i: extractor.extract(cv2.imread(str(folder / f"{i}.jpg"))) for i in range(1, 85)}

    right = [verify(features[q], features[m]).significance for q, m in pairs]
    # frames 40 apart show the same stretch of corridor
    wrong = [
        verify(features[q], features[n]).significance
        for q, m in pairs
        for n in range(1, 85, 3)
        if all(abs((n - same + 20) % 40 - 20) > 8 for same in (q, m))
    ]
    assert len(pairs) == 40 and len(wrong) > 300
    assert np.mean(np.array(right) >= SIGNIFICANT) >= 0.9
    assert np.mean(np.array(wrong) < SIGNIFICANT) >= 0.99


def test_what_does_not_move_proves_nothing(make_features):
    """A robot's own body, an overlay: 60 points at the same pixels in both images."""
    rng = np.random.default_rng(0)
    body = rng.uniform((0, 200), (320, 240), (60, 2))
    found = verify(make_features(body), make_features(body))
    assert found.still == found.correspondences == 60
    assert found.inliers == 0 and found.significance == 0
    moved = verify(make_features(body), make_features(body + rng.uniform(2, 40, (1, 2))))
    assert moved.still == 0 and moved.inliers == 60


def test_what_stayed_in_place_while_the_camera_moved_is_fixed(make_features):
    rng = np.random.default_rng(0)
    body, scenery = rng.uniform((0, 200), (320, 240), (30, 2)), rng.uniform(0, 200, (50, 2))
    view = make_features(np.concatenate([body, scenery]))
    before = make_features(np.concatenate([body, scenery + 9]))
    fixed = fixed_features(view, before)
    assert fixed[:30].all() and not fixed[30:].any()
    assert fixed_features(view, None).all(), "nothing is known"
    # The same image again: what is fixed does not count, the scenery does.
    again = verify(view, view, fixed)
    assert (again.still, again.inliers) == (30, 50) and again.significance > SIGNIFICANT


def test_points_on_a_line_prove_nothing(make_features):
    x = np.random.default_rng(0).uniform(0, 320, 60)
    line, moved = (np.stack([x + shift, 0.5 * x + 20], axis=1) for shift in (0, 15))
    assert verify(make_features(line), make_features(moved)).significance == 0


def test_density_counts_what_did_not_match(make_features):
    """Half of the features between the inliers have no counterpart: another sign, another door."""
    query, match = views(100, rotation(5), np.array([0.3, 0, 0.5]), calibrated=False)
    whole = verify(query, match)
    rng = np.random.default_rng(1)
    strange = rng.integers(0, 256, query.descriptors.shape, np.uint8)
    strange[50:] = query.descriptors[50:]
    half = verify(LocalFeatures(query.keypoints, strange), match)
    assert whole.density > 0.95 and 0.4 < half.density < 0.65


@pytest.mark.parametrize("scale", [0.5, 1, 6])
def test_the_size_of_the_image_does_not_matter(scale):
    """Pixels of the camera are counted in pixels of the scaled image."""
    pair = views(60, rotation(5), np.array([0.3, 0, 0.5]), outliers=20, calibrated=False)
    plain = verify(*pair)
    scaled = [LocalFeatures(f.keypoints * scale, f.descriptors, scale) for f in pair]
    found = verify(*scaled)
    assert found.inliers == pytest.approx(plain.inliers, abs=5)
    assert found.significance == pytest.approx(plain.significance, rel=0.2)


@pytest.mark.parametrize(
    ("query", "match", "low", "high"),
    [
        ((1.3, 0.0), (1.3, 0.0), 1.0, 1.0),
        ((0.5, 0.0), (1.3, 0.0), 0.2, 0.5),  # blurred against a sharp map, and the reverse
        ((1.3, 0.0), (0.5, 0.0), 0.2, 0.5),
        ((0.9, 0.0), (0.9, 0.0), 1.5, 3.0),  # soft images of one camera: more by chance
        ((0.1, 0.0), (0.1, 0.0), 1.5, 3.0),
        ((1.3, 0.5), (1.3, 0.0), 0.4, 0.8),  # overexposed
        ((0.0, 0.0), (1.3, 0.9), 1.0, 1.0),  # from a map that does not say
        ((1e4, 0.0), (1e-4, 1.0), 0.2, 0.25),  # nonsense stays within what was measured
    ],
)
def test_what_images_can_give_depends_on_their_condition(make_features, query, match, low, high):
    found = [
        dataclasses.replace(make_features(np.zeros((20, 2))), sharpness=sharpness, clipped=clipped)
        for sharpness, clipped in (query, match)
    ]
    assert low <= verify(*found).expected <= high


def test_features_of_two_kinds_are_not_compared(make_features):
    orb = make_features(np.random.default_rng(0).uniform(0, 300, (50, 2)))
    sift = LocalFeatures(orb.keypoints, np.zeros((50, 128), np.uint8))
    assert not comparable(orb, sift) and not comparable(orb, None)
    assert comparable(orb, orb) and comparable(sift, sift)
    assert verify(orb, sift).correspondences == 0
    # None found is known to be none, of whatever kind.
    blank = LocalFeatures(np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8))
    assert comparable(blank, sift) and verify(blank, sift).significance == 0
