# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation changes the picture as asked, and nothing else about it."""

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.training.augment import AugmentConfig, Augmenter

STEPS = ("viewpoint", "occlusion", "weather", "light", "night", "blur", "jpeg")
OFF = {**dict.fromkeys(STEPS, 0.0), "noise": 0.0}


def augment(image, seed=0, size=None, **options):
    config = AugmentConfig(**{**OFF, **options})
    return Augmenter(config)(image, np.random.default_rng(seed), size)


@pytest.mark.parametrize("size", [None, (96, 128), (70, 70), (600, 700)])
def test_shape_and_type_are_as_asked(picture, size):
    image = picture(1)
    before = image.copy()
    everything = dict.fromkeys(STEPS, 0.7)
    for seed in range(20):
        seen = augment(image, seed, size, noise=8.0, **everything)
        assert seen.shape == (*(size or image.shape[:2]), 3)
        assert seen.dtype == np.uint8
        assert seen.flags.c_contiguous
    assert (image == before).all()


def test_with_all_steps_off_the_picture_stays(picture):
    assert (augment(picture(1)) == picture(1)).all()


def test_off_and_resized_is_what_the_robot_does(picture):
    image = picture(1, 200, 300)
    wanted = cv2.resize(image, (90, 80), interpolation=cv2.INTER_AREA)
    assert (augment(image, size=(80, 90)) == wanted).all()


@pytest.mark.parametrize("step", STEPS)
def test_each_step_changes_the_picture_and_repeats(picture, step):
    image = picture(2)
    seen = [augment(image, seed, **{step: 1.0}) for seed in range(5)]
    for one in seen:
        assert (one != image).mean() > 0.005
    assert any((one != seen[0]).any() for one in seen[1:])
    assert (augment(image, 3, **{step: 1.0}) == seen[3]).all()


def test_light_reaches_from_dark_to_bright(picture):
    means = [augment(picture(3), seed, light=1.0).mean() for seed in range(40)]
    assert min(means) < 0.6 * picture(3).mean()
    assert max(means) > 1.3 * picture(3).mean()


def test_light_never_leaves_a_white_picture():
    image = np.full((64, 64, 3), 215, np.uint8)
    image[::2] = 190  # a bright, weakly structured wall
    for seed in range(40):
        assert augment(image, seed, light=1.0, vignette=0.0).std() > 4.0


def test_night_is_dark_and_noisy(picture):
    image = np.full((64, 64, 3), 120, np.uint8)
    seen = augment(image, night=1.0, noise=8.0)
    assert seen.mean() < 0.5 * image.mean()
    assert seen.std(axis=(0, 1)).max() > 1.0


def test_noise_has_the_deviation_asked_for():
    image = np.full((700, 600, 3), 120, np.uint8)  # larger than the stored noise
    deviations = [augment(image, seed, noise=8.0).std() for seed in range(20)]
    assert 5.0 < max(deviations) <= 8.5
    assert abs(augment(image, 1, noise=8.0).mean() - 120) < 1.0


def test_blur_takes_away_detail(picture):
    def detail(image):
        return cv2.Laplacian(image, cv2.CV_32F).var()

    for seed in range(8):
        assert detail(augment(picture(4), seed, blur=1.0)) < 0.8 * detail(picture(4))


def test_occlusion_leaves_most_of_the_picture(picture):
    for seed in range(20):
        changed = (augment(picture(5), seed, occlusion=1.0, occlusion_area=0.1) != picture(5)).any(
            2
        )
        assert changed.mean() <= 0.33


def test_options_out_of_range_are_errors():
    with pytest.raises(ConfigError, match="gain_low"):
        AugmentConfig(gain_low=2.0)
    with pytest.raises(ConfigError, match=r"'near_m' is 9; give at most 'far_m' \(4\)"):
        AugmentConfig(near_m=9.0, far_m=4.0)
    with pytest.raises(ConfigError, match="wether"):
        AugmentConfig.from_dict({"wether": 0.5})
