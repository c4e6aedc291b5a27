# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every field of camera_info moves keypoints to where a pinhole camera would see them, or the
calibration is refused."""

import cv2
import numpy as np
import pytest

from vpr_ros.core.camera_model import CameraModel, is_rectified
from vpr_ros.core.errors import CameraError
from vpr_ros.core.keyframe import LocalFeatures

K = [500.0, 0, 319.5, 0, 500.0, 239.5, 0, 0, 1]
FULL = {"k": K, "size": (640, 480)}
D = [-0.3, 0.1, 0.001, -0.002, 0.0]
RATIONAL = [0.5, -0.1, 0.001, 0.0005, 0.01, 0.8, -0.05, 0.02]
FISHEYE = [0.02, -0.01, 0.003, 0.0]


def features(points):
    points = np.asarray(points, np.float32)
    return LocalFeatures(points, np.arange(len(points) * 32, dtype=np.uint8).reshape(-1, 32))


def world():
    """Points (N, 3) in front of the camera, all of them in view."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 7), np.linspace(-0.35, 0.35, 5))
    depth = np.random.default_rng(0).uniform(1, 5, x.size)
    return np.stack([x.ravel() * depth, y.ravel() * depth, depth], axis=1)


def pinhole(matrix, points=None):
    points = world() if points is None else points
    return points[:, :2] / points[:, 2:] * matrix[[0, 1], [0, 1]] + matrix[[0, 1], [2, 2]]


@pytest.mark.parametrize(
    ("info", "image", "expected"),
    [
        ({}, (640, 480), (500, 319.5, 239.5)),
        ({}, (160, 120), (125, 79.5, 59.5)),  # camera_info of the full resolution
        ({}, (320, 241), (250, 159.5, 120.0)),  # rounded up
        ({}, (1280, 960), (1000, 639.5, 479.5)),
        ({"size": (0, 0)}, (640, 480), (500, 319.5, 239.5)),
        ({"binning": (2, 2)}, (320, 240), (250, 159.5, 119.5)),
        ({"binning": (2, 2)}, (160, 120), (125, 79.5, 59.5)),  # binned and then scaled
        ({"roi": (100, 80, 400, 300)}, (400, 300), (500, 219.5, 159.5)),
        ({"roi": (100, 80, 400, 300), "binning": (2, 2)}, (200, 150), (250, 109.5, 79.5)),
        ({"roi": (100, 80, 0, 0)}, (540, 400), (500, 219.5, 159.5)),
    ],
)
def test_size_binning_and_roi(info, image, expected):
    matrix = CameraModel.of(**{**FULL, **info}).of_image(*image).matrix
    found = (matrix[0, 0], matrix[0, 2], matrix[1, 2])
    assert found == pytest.approx(expected, abs=1e-3)


def test_a_scaled_image_is_described_to_the_pixel():
    full, half = (CameraModel.of(**FULL).of_image(*size) for size in ((640, 480), (320, 240)))
    dots = np.zeros((480, 640), np.uint8)
    at = np.round(pinhole(full.matrix)).astype(int) // 2 * 2  # on whole pixels of both
    dots[at[:, 1], at[:, 0]] = dots[at[:, 1] + 1, at[:, 0] + 1] = 255
    small = cv2.resize(dots, (320, 240), interpolation=cv2.INTER_AREA)
    assert (small[at[:, 1] // 2, at[:, 0] // 2] > 0).all()
    centre = at + 0.5  # of the two pixels that were lit
    rays = (centre - full.matrix[[0, 1], [2, 2]]) / 500
    assert np.allclose(rays * 250 + half.matrix[[0, 1], [2, 2]], at // 2)


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", D),
        ("plumb_bob", D[:4]),
        ("rational_polynomial", RATIONAL),
        ("equidistant", FISHEYE),
        ("fisheye", FISHEYE),
    ],
)
@pytest.mark.parametrize("scale", [1, 2])
def test_distortion_is_undone(model, d, scale):
    camera = CameraModel.of(**FULL, d=d, model=model).of_image(640 // scale, 480 // scale)
    none = np.zeros(3)
    distorted = (
        cv2.fisheye.projectPoints(world()[:, None], none, none, camera.matrix, np.array(d, float))[
            0
        ]
        if model in ("equidistant", "fisheye")
        else cv2.projectPoints(world(), none, none, camera.matrix, np.array(d, float))[0]
    ).reshape(-1, 2)
    assert np.abs(distorted - pinhole(camera.matrix)).max() > 4 / scale
    found = camera.undistorted(features(distorted))
    assert np.abs(found.keypoints - pinhole(camera.matrix)).max() < 0.1
    assert found.camera_matrix is camera.matrix and len(found.descriptors) == len(world())


@pytest.mark.parametrize("d", [(), [0.0] * 5, [0.0] * 7])
@pytest.mark.parametrize("model", ["", "plumb_bob", "none", "inverse_brown_conrady"])
def test_without_distortion_nothing_moves(d, model):
    seen = features(pinhole(np.array(K).reshape(3, 3)))
    found = CameraModel.of(**FULL, d=d, model=model).of_image(640, 480).undistorted(seen)
    assert np.array_equal(found.keypoints, seen.keypoints)


def test_a_rectified_image_is_described_by_the_projection():
    p = [400.0, 0, 310.0, -40.0, 0, 410.0, 230.0, 0, 0, 0, 1, 0]
    camera = CameraModel.of(**FULL, d=D, p=p, model="plumb_bob", rectified=True)
    assert camera.of_image(640, 480).matrix[[0, 1, 0, 1], [0, 1, 2, 2]] == pytest.approx(
        (400, 410, 310, 230)
    )
    assert not len(camera.distortion)
    unset = CameraModel.of(**FULL, d=D, p=[0.0] * 12, model="plumb_bob", rectified=True)
    assert unset.matrix[0, 0] == 500 and not len(unset.distortion)


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/camera/image_raw", False),
        ("/camera/image_rect", True),
        ("/camera/image_rect_color/compressed", True),
        ("/rectangle/image_raw", False),
    ],
)
def test_the_topic_says_whether_an_image_is_rectified(topic, rectified):
    assert is_rectified(topic) is rectified


def test_pixels_far_outside_a_pinholes_view_are_left_out():
    camera = CameraModel.of(
        k=[200.0, 0, 320, 0, 200, 240, 0, 0, 1], d=FISHEYE, model="equidistant", size=(640, 480)
    ).of_image(640, 480)
    edge = np.stack([np.linspace(0, 639, 65), np.full(65, 240.0)], axis=1)  # 183 degrees wide
    found = camera.undistorted(features(edge))
    assert 40 < len(found.keypoints) < 65 and len(found.descriptors) == len(found.keypoints)
    assert np.isfinite(found.keypoints).all() and np.abs(found.keypoints).max() < 320 + 200 * 3.8


def test_an_uncalibrated_camera_is_none():
    assert CameraModel.of(k=[0.0] * 9, d=[0.0] * 5, size=(640, 480)) is None


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"k": [np.nan, *K[1:]]}, "not finite"),
        ({"k": [*K[:2], np.inf, *K[3:]]}, "not finite"),
        ({"d": [np.nan] * 5, "model": "plumb_bob"}, "not finite"),
        ({"k": [-500.0, *K[1:]]}, "focal lengths of -500"),
        ({"k": [1e300, *K[1:]]}, "focal lengths of 1e\\+300"),
        ({"k": [500.0, 0, 3000.0, *K[3:]]}, "centre at 3000"),
        ({"k": [500.0] + [0.0] * 8}, "focal lengths of 500 and 0"),
        ({"binning": (2**32 - 1, 2**32 - 1)}, "cannot be for|another aspect"),
        ({"size": (640, 360)}, "for images of 640x360, the images have 640x480, another aspect"),
        ({"roi": (0, 0, 640, 300)}, "for images of 640x300"),
        ({"binning": (2, 1)}, "for images of 320x480"),
        ({"d": [0.1] * 5, "model": "equidistant"}, "'equidistant' with 5 coefficients"),
        ({"d": [0.1] * 5, "model": "modified_brown_conrady"}, "Known are plumb_bob"),
        ({"d": [1e9] * 5, "model": "plumb_bob"}, "describes only"),
        ({"d": [40.0, 0, 0, 0, 0], "model": "plumb_bob"}, "describes only"),
    ],
)
def test_what_cannot_be_is_refused(info, message):
    points = np.random.default_rng(0).uniform((0, 0), (640, 480), (200, 2))
    with pytest.raises(CameraError, match=message):
        CameraModel.of(**{**FULL, **info}).of_image(640, 480).undistorted(features(points))
