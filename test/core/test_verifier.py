# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two views of one scene agree, two scenes do not, and the motion comes out right."""

import csv

import cv2
import numpy as np
import pytest

from vpr_ros.core.keyframe import LocalFeatures
from vpr_ros.core.loop_detector import LoopConfig
from vpr_ros.core.verifier import FeatureConfig, FeatureExtractor, verify

K_QUERY = np.array([[300.0, 0, 160], [0, 310, 120], [0, 0, 1]])
K_MATCH = np.array([[400.0, 0, 200], [0, 390, 150], [0, 0, 1]])
ENOUGH = LoopConfig().min_inliers


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
    found = verify(*views(150, R, np.array(t), outliers=outliers))
    assert 150 - outliers - 5 <= found.inliers <= 150 - 0.7 * outliers
    pose = found.T_match_query
    turn = np.arccos(np.clip((np.trace(pose.rotation @ R.T) - 1) / 2, -1, 1))
    assert np.degrees(turn) < 1
    assert pose.direction @ np.array(t) / np.linalg.norm(t) > np.cos(np.radians(3))
    assert np.linalg.norm(pose.direction) == pytest.approx(1)


def test_without_camera_matrices_the_views_agree_but_give_no_motion():
    query, match = views(150, rotation(10), np.array([0.3, 0, 0.9]), calibrated=False)
    found = verify(query, match)
    assert found.inliers > 140 and found.T_match_query is None
    one_known = LocalFeatures(query.keypoints, query.descriptors, camera_matrix=K_QUERY)
    assert verify(one_known, match).T_match_query is None


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_same_features_in_other_places_do_not_agree(calibrated):
    pair = views(60, np.eye(3), np.array([1.0, 0, 0]), outliers=60, calibrated=calibrated)
    assert verify(*pair).inliers < ENOUGH


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
        pair = (make_features(p, camera_matrix=matrix) for p in (points, other))
        assert verify(*pair).inliers < ENOUGH


def test_features_lie_in_the_camera_image():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    image = cv2.resize(image, (640, 480), interpolation=cv2.INTER_NEAREST)
    found = FeatureExtractor(FeatureConfig(count=100)).extract(image, K_QUERY)
    assert 50 < len(found.keypoints) <= 100 and found.descriptors.shape[1] == 32
    assert found.pixel_size == 2.0 and found.camera_matrix is K_QUERY
    assert found.keypoints.max(0)[0] > 400 and (found.keypoints < (640, 480)).all()
    # texture in one spot of a blank image is found there
    blank = np.full_like(image, 128)
    blank[300:380, 420:500] = image[300:380, 420:500]
    spot = FeatureExtractor(FeatureConfig()).extract(blank).keypoints
    assert len(spot) > 5 and (np.abs(spot - (460, 340)) < 50).all()


def test_features_can_be_switched_off():
    assert FeatureExtractor(FeatureConfig(count=0)).extract(np.zeros((9, 9, 3), np.uint8)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 4096), (40, 40), (480, 640)])
def test_blank_and_tiny_images_have_none(shape):
    found = FeatureExtractor(FeatureConfig()).extract(np.full((*shape, 3), 128, np.uint8))
    assert found.keypoints.shape == (0, 2) and found.descriptors.shape == (0, 32)


def test_real_revisits_part_from_lookalikes(shared_data):
    folder = shared_data / "rtabmap_samples"
    rows = list(csv.DictReader((folder / "revisits.csv").open()))
    pairs = [(int(r["query"]), int(r["match"])) for r in rows if r["match"]]
    extractor = FeatureExtractor(FeatureConfig())
    features = {i: extractor.extract(cv2.imread(str(folder / f"{i}.jpg"))) for i in range(1, 85)}

    right = [verify(features[q], features[m]).inliers for q, m in pairs]
    # frames 40 apart show the same stretch of corridor
    wrong = [
        verify(features[q], features[n]).inliers
        for q, m in pairs
        for n in range(1, 85, 3)
        if all(abs((n - same + 20) % 40 - 20) > 8 for same in (q, m))
    ]
    assert len(pairs) == 40 and len(wrong) > 300
    assert np.mean(np.array(right) >= ENOUGH) >= 0.9
    assert np.mean(np.array(wrong) < ENOUGH) >= 0.95


def test_a_dim_view_has_as_many_features():
    blocks = np.random.default_rng(0).integers(0, 256, (24, 32), np.uint8)
    bright = cv2.resize(blocks, (320, 240), interpolation=cv2.INTER_NEAREST)
    bright = cv2.GaussianBlur(bright, (0, 0), 1.5)
    extractor = FeatureExtractor(FeatureConfig())
    counts = [
        len(extractor.extract(cv2.merge([(bright * light).astype(np.uint8)] * 3)).keypoints)
        for light in (1.0, 0.1)
    ]
    assert counts[0] > 250 and counts[1] > 0.8 * counts[0]
