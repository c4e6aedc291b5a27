# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation changes the picture as asked and nothing else; homographies by hand."""

import math

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.training.augment import (
    FIELD_OF_VIEW_DEG,
    AugmentConfig,
    Augmenter,
    Movement,
    homography,
)

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


HEIGHT, WIDTH = 60, 100
FOCAL = WIDTH / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))


def moved(point, move, target=(HEIGHT, WIDTH)):
    x, y, w = homography((HEIGHT, WIDTH), target, move) @ [*point, 1.0]
    return x / w, y / w


def test_standing_still_only_resizes():
    assert moved((20, 30), Movement()) == pytest.approx((20, 30))
    assert moved((20, 30), Movement(), (120, 50)) == pytest.approx((10, 60))


def test_a_step_aside_shifts_a_plane_by_focal_length_over_distance():
    assert moved((50, 30), Movement((1.0, 0, 0), distance_m=4.0)) == pytest.approx(
        (50 - FOCAL / 4, 30)
    )


def test_a_step_ahead_enlarges():
    # from 4 m to 3 m everything is 4/3 as far from the middle
    assert moved((80, 45), Movement((0, 0, 1.0), distance_m=4.0)) == pytest.approx((90, 50))


def test_a_turn_moves_the_middle_by_its_tangent():
    x, y = moved((50, 30), Movement(yaw_deg=10.0))
    assert abs(x - 50) == pytest.approx(FOCAL * math.tan(math.radians(10)))
    assert y == pytest.approx(30)
    assert moved((50, 30), Movement(roll_deg=90.0)) == pytest.approx((50, 30))


def test_zoom_enlarges_about_the_middle():
    assert moved((60, 30), Movement(zoom=2.0)) == pytest.approx((70, 30))


def test_points_on_a_slanted_plane():
    """The same three points of the plane, seen by both cameras."""
    move = Movement(
        (0.5, -0.2, 0.3), 5.0, slant_deg=20.0, yaw_deg=7.0, pitch_deg=3.0, roll_deg=5.0
    )
    slant = math.radians(20.0)
    normal = np.array([math.sin(slant), 0, math.cos(slant)])
    for ray in ([0.1, 0.2, 1.0], [-0.5, 0.0, 1.0], [0.4, -0.3, 1.0]):
        point = np.array(ray) * 5.0 / (normal @ ray)
        turn = _turn(2, 5.0) @ _turn(0, 3.0) @ _turn(1, 7.0)
        x, y, z = turn @ (point - move.shift_m)
        before = (FOCAL * ray[0] + WIDTH / 2, FOCAL * ray[1] + HEIGHT / 2)
        assert moved(before, move) == pytest.approx(
            (FOCAL * x / z + WIDTH / 2, FOCAL * y / z + HEIGHT / 2)
        )


def _turn(axis, degrees):
    vector = np.zeros(3)
    vector[axis] = math.radians(degrees)
    return cv2.Rodrigues(vector)[0]
