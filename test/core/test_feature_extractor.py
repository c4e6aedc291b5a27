# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features lie where the texture is, in pixels of the camera."""

import cv2
import numpy as np
import pytest

from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor

K_QUERY = np.array([[300.0, 0, 160], [0, 310, 120], [0, 0, 1]])
KINDS = pytest.mark.parametrize(("kind", "size"), [("sift", 128), ("orb", 32)])


@KINDS
def test_features_lie_in_the_camera_image(kind, size):
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    image = cv2.resize(image, (640, 480), interpolation=cv2.INTER_NEAREST)
    found = FeatureExtractor(FeatureConfig(kind=kind, count=100)).extract(image, K_QUERY)
    assert 50 < len(found.keypoints) <= 100 and found.kind == kind
    assert found.descriptors.shape == (len(found.keypoints), size)
    assert found.pixel_size == pytest.approx(640 / 240) and found.camera_matrix is K_QUERY
    assert found.keypoints.max(0)[0] > 400 and (found.keypoints < (640, 480)).all()
    # texture in one spot of a blank image is found there
    blank = np.full_like(image, 128)
    blank[300:380, 420:500] = image[300:380, 420:500]
    spot = FeatureExtractor(FeatureConfig(kind=kind)).extract(blank).keypoints
    assert len(spot) > 5 and (np.abs(spot - (460, 340)) < 50).all()


def test_features_can_be_switched_off():
    assert FeatureExtractor(FeatureConfig(count=0)).extract(np.zeros((9, 9, 3), np.uint8)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 4096), (40, 40), (480, 640)])
@KINDS
def test_blank_and_tiny_images_have_none(shape, kind, size):
    extractor = FeatureExtractor(FeatureConfig(kind=kind))
    found = extractor.extract(np.full((*shape, 3), 128, np.uint8))
    assert found.keypoints.shape == (0, 2) and found.descriptors.shape == (0, size)


@KINDS
def test_a_dim_view_has_nearly_as_many_features(kind, size):
    blocks = np.random.default_rng(0).integers(0, 256, (24, 32), np.uint8)
    bright = cv2.resize(blocks, (320, 240), interpolation=cv2.INTER_NEAREST)
    bright = cv2.GaussianBlur(bright, (0, 0), 1.5)
    extractor = FeatureExtractor(FeatureConfig(kind=kind))
    counts = [
        len(extractor.extract(cv2.merge([(bright * light).astype(np.uint8)] * 3)).keypoints)
        for light in (1.0, 0.1)
    ]
    assert counts[0] > 250 and counts[1] > 0.8 * counts[0]


def test_sharpness_and_clipping_tell_the_condition_of_an_image(shared_data):
    """Whatever the pictures show: blurred and overexposed ones differ from all as taken."""
    folder = shared_data / "rtabmap_samples"
    extractor = FeatureExtractor(FeatureConfig())
    made = {"taken": [], "dim": [], "blurred": [], "bright": []}
    for number in range(1, 41, 3):
        image = cv2.imread(str(folder / f"{number}.jpg"))
        made["taken"].append(extractor.extract(image))
        made["dim"].append(extractor.extract(cv2.convertScaleAbs(image, alpha=0.5)))
        made["blurred"].append(extractor.extract(cv2.GaussianBlur(image, (0, 0), 4.0)))
        made["bright"].append(extractor.extract(cv2.convertScaleAbs(image, alpha=2.0)))
    sharpness = {kind: np.array([f.sharpness for f in found]) for kind, found in made.items()}
    known = (sharpness["dim"] > 0) & (sharpness["blurred"] > 0)  # but for blank walls
    assert known.sum() >= 10
    sharpness = {kind: values[known] for kind, values in sharpness.items()}
    clipped = {kind: [f.clipped for f in found] for kind, found in made.items()}
    assert sharpness["dim"] == pytest.approx(sharpness["taken"], rel=0.1)
    assert max(sharpness["blurred"]) < 0.8 * min(sharpness["taken"])
    assert max(clipped["blurred"]) < 0.2 < np.median(clipped["bright"])
    assert all(b >= t for b, t in zip(clipped["bright"], clipped["taken"], strict=True))
    blank = extractor.extract(np.full((48, 64, 3), 255, np.uint8))
    assert (blank.sharpness, blank.clipped) == (0.0, 1.0)


def test_a_small_image_is_enlarged():
    """160x120 px: ORB alone would find nothing within 31 px of the border."""
    blocks = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    image = cv2.resize(blocks, (160, 120), interpolation=cv2.INTER_NEAREST)
    for kind in ("sift", "orb"):
        found = FeatureExtractor(FeatureConfig(kind=kind, image_width=320)).extract(image)
        assert found.pixel_size == 0.5 and len(found.keypoints) > 100
        assert (found.keypoints >= 0).all() and (found.keypoints < (160, 120)).all()
