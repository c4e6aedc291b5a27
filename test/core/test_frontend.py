# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames become keyframes only if they are worth it, and cost nothing if not."""

import dataclasses
import types

import cv2
import numpy as np
import pytest

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.camera_model import CameraModel
from vpr_ros.core.errors import DescriptorError, ImageError
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.frontend import Frame, Frontend
from vpr_ros.core.gate import GateConfig, KeyframeGate
from vpr_ros.core.image_files import decode_compressed
from vpr_ros.core.pose import Pose

S = 1_000_000_000
CAMERA = CameraModel.of(k=[80.0, 0, 31.5, 0, 80, 23.5, 0, 0, 1], size=(64, 48))


class FakeEncoder:
    """The colour of the first pixel, of unit length."""

    def __init__(self):
        self.digest, self.provider = "d1", "CUDAExecutionProvider, 96% of the time"
        self.contract = types.SimpleNamespace(
            name="fake",
            change=0.0,
            calibration_at=lambda sparsity: Calibration(sparsity, 0.5),
        )
        self.sparsities = []

    def encode(self, image, sparsity):
        self.sparsities.append(sparsity)
        colour = image[0, 0].astype(np.float32)
        if not colour.any():
            raise DescriptorError("black")
        return colour / np.linalg.norm(colour)


class Camera:
    """Frames of one colour that count how often they are decoded."""

    def __init__(self):
        self.decoded = 0

    def frame(self, t_s, colour=(9, 9, 9), pose=None):
        def decode():
            self.decoded += 1
            image = np.full((48, 64, 3), colour, np.uint8)
            turn = round(t_s)
            image[8:40, 8 + turn % 5 : 56 : 4 + turn % 3] = 255 - image[0, 0]  # another view
            return image

        return Frame(round(t_s * S), decode, "camera", pose, "odom", CAMERA)


@pytest.fixture
def camera():
    return Camera()


@pytest.fixture
def frontend():
    gate = KeyframeGate(GateConfig(distance_m=0.5, angle_deg=20, interval_s=0.2, change=0.05))
    return Frontend(FakeEncoder(), gate, FeatureExtractor(FeatureConfig()), first_id=7)


@pytest.mark.parametrize("pose", [None, Pose.planar(1, 2, 0)], ids=["blind", "odometry"])
def test_a_keyframe_carries_all_that_is_known(frontend, camera, pose):
    keyframe = frontend.process(camera.frame(3, (0, 3, 4), pose), 0.3)
    assert (keyframe.id, keyframe.stamp_ns, keyframe.model) == (7, 3 * S, "fake")
    assert keyframe.descriptor == pytest.approx((0, 0.6, 0.8))
    assert keyframe.provider == "CUDAExecutionProvider"
    assert keyframe.sparsity == 0.3 and frontend.encoder.sparsities == [0.3]
    assert repr(keyframe.calibration) == repr(Calibration(0.3, 0.5))  # NaN equals nothing
    assert keyframe.frame == "camera" and keyframe.pose == pose
    assert keyframe.pose_frame == ("odom" if pose else "")
    assert np.array_equal(keyframe.features.camera_matrix, CAMERA.matrix)
    assert frontend.encoded == 1 and frontend.encode_s > 0 and keyframe.thumbnail is None


def test_a_thumbnail_lies_under_the_features(frontend, camera):
    """It is as a pinhole camera would see it where the features are."""
    frontend.thumbnail = 32
    bent = dataclasses.replace(CAMERA, distortion=np.array([1.0, 0, 0, 0, 0]), model="plumb_bob")
    found = {}
    for name, model, colour in (("straight", CAMERA, (9, 9, 9)), ("bent", bent, (99, 199, 99))):
        frame = dataclasses.replace(camera.frame(len(found) + 1, colour), camera=model)
        thumbnail = frontend.process(frame, 0.0).thumbnail
        found[name] = decode_compressed(thumbnail.jpeg)
        assert thumbnail.image_width == 64 and found[name].shape == (24, 32, 3)
    small = cv2.resize(camera.frame(1).decode(), (32, 24), interpolation=cv2.INTER_AREA)
    assert np.abs(found["straight"].astype(int) - small).mean() < 10
    assert found["bent"][[0, -1]].mean() < 30, "it sees more than the camera did"
    frontend.thumbnail = 640
    large = frontend.process(camera.frame(9, (199, 99, 99)), 0.0).thumbnail
    assert decode_compressed(large.jpeg).shape == (48, 64, 3), "it is never enlarged"


@pytest.mark.parametrize("pose", [None, Pose.planar(1, 2, 0)], ids=["blind", "odometry"])
def test_standing_still_adds_nothing(frontend, camera, pose):
    kept = [frontend.process(camera.frame(i, pose=pose), 0.0) for i in range(1, 30)]
    assert [k is not None for k in kept] == [True] + [False] * 28
    assert camera.decoded == (1 if pose else 29)


def test_what_the_gate_refuses_is_not_even_decoded(frontend, camera):
    frontend.process(camera.frame(1), 0.0)
    assert frontend.process(camera.frame(1.1, (200, 0, 0)), 0.0) is None
    assert camera.decoded == frontend.encoded == 1


@pytest.mark.parametrize(("change", "kept"), [(0.0, True), (0.05, True), (0.2, False)])
def test_without_odometry_the_model_says_what_is_another_view(camera, change, kept):
    encoder = FakeEncoder()
    encoder.contract.change = change
    frontend = Frontend(encoder, KeyframeGate(GateConfig()), FeatureExtractor(FeatureConfig()))
    assert frontend.process(camera.frame(1, (10, 10, 10)), 0.0)
    another = frontend.process(camera.frame(2, (10, 20, 10)), 0.0)  # a cosine of 0.94
    assert (another is not None) is kept


def test_ids_rise_by_one_a_keyframe(frontend, camera):
    frames = [camera.frame(i, pose=Pose.planar(0.3 * i, 0, 0)) for i in range(1, 9)]
    keyframes = [k for k in (frontend.process(f, 0.0) for f in frames) if k]
    assert [k.id for k in keyframes] == [7, 8, 9, 10] and camera.decoded == 4


@pytest.mark.parametrize("pose", [None, Pose.planar(1, 2, 0)], ids=["blind", "odometry"])
def test_a_frame_that_fails_has_no_effect(frontend, camera, pose):
    def broken():
        raise ImageError("cut short")

    with pytest.raises(ImageError, match="cut short"):
        frontend.process(Frame(S, broken, pose=pose), 0.0)
    with pytest.raises(DescriptorError, match="black"):
        frontend.process(camera.frame(1, (0, 0, 0), pose), 0.0)
    keyframe = frontend.process(camera.frame(1, pose=pose), 0.0)
    assert keyframe.id == 7


def test_a_clock_that_jumps_back_is_survived(frontend, camera):
    assert frontend.process(camera.frame(1000), 0.0)
    assert frontend.process(camera.frame(5), 0.0)
    assert frontend.process(camera.frame(5.1), 0.0) is None
    assert frontend.process(camera.frame(6, (9, 0, 0)), 0.0).id == 9


def test_a_camera_that_does_not_fit_costs_the_matrix_and_is_said(frontend, camera):
    frame = camera.frame(1)
    other = dataclasses.replace(frame, camera=dataclasses.replace(CAMERA, size=(64, 40)))
    keyframe = frontend.process(other, 0.0)
    assert len(keyframe.features.keypoints) and keyframe.features.camera_matrix is None
    assert "for images of 64x40, the images have 64x48" in frontend.camera_fault
    assert frontend.process(camera.frame(2, (9, 0, 0)), 0.0).features.camera_matrix is not None
    assert frontend.camera_fault == ""
