# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages to core values: nothing gets lost, and robot and evaluation see the same pixels."""

import dataclasses
import math

import cv2
import messages
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image

from vpr_msgs.msg import LoopClosure
from vpr_ros.core import images
from vpr_ros.core.calibration import Calibration
from vpr_ros.core.errors import ImageError, KeyframeError
from vpr_ros.core.keyframe import Keyframe, LocalFeatures, Place, Thumbnail
from vpr_ros.core.pose import Pose
from vpr_ros.nodes import conversions
from vpr_ros.nodes.image_input import BRIDGED, ImageDecoder

RANDOM = np.random.default_rng(0)


def image_message(encoding, padding=0):
    layout = images.ENCODINGS[encoding]
    rows = 12 * layout.rows[0] // layout.rows[1]
    row = 16 * layout.values * np.dtype(layout.dtype).itemsize + padding
    data = RANDOM.integers(0, 256, rows * row, dtype=np.uint8).tobytes()
    return Image(height=12, width=16, encoding=encoding, step=row, data=data)


@pytest.mark.parametrize("encoding", images.ENCODINGS)
@pytest.mark.parametrize("padding", [0, 8])
def test_cv_bridge_and_core_agree_pixel_for_pixel(encoding, padding):
    decoder = ImageDecoder()
    assert decoder.status == "cv_bridge", "without cv_bridge this test would compare nothing"
    message = image_message(encoding, padding)
    direct = images.decode_raw(
        message.data, height=12, width=16, encoding=encoding, step=message.step
    )
    assert np.array_equal(decoder.decode(message), direct)


@pytest.mark.parametrize("encoding", BRIDGED)
def test_cv_bridge_converts_what_it_can(encoding, monkeypatch):
    decoder = ImageDecoder()
    monkeypatch.setattr(
        images, "decode_raw", lambda *a, **k: pytest.fail("cv_bridge was passed by")
    )
    assert decoder.decode(image_message(encoding)).shape == (12, 16, 3)


@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "mono16"])
def test_big_endian_images_are_decoded(encoding):
    little, big = image_message(encoding), image_message(encoding)
    big.is_bigendian = 1
    values = np.frombuffer(little.data, images.ENCODINGS[encoding].dtype)
    big.data = (values.byteswap() if encoding == "mono16" else values).tobytes()
    assert np.array_equal(ImageDecoder().decode(big), ImageDecoder().decode(little))


@pytest.mark.parametrize("encoding", ["bgr8", "mono16"])
def test_the_largest_image_is_a_parameter(encoding):
    decoder = ImageDecoder()
    decoder.max_megapixels = 0.0001
    with pytest.raises(ImageError, match=r"16x12 has more than 0\.0001 million pixels"):
        decoder.decode(image_message(encoding))


def test_a_broken_cv_bridge_does_no_harm(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # importing it fails
    decoder = ImageDecoder()
    assert "using OpenCV directly" in decoder.status
    assert decoder.decode(image_message("bgr8")).shape == (12, 16, 3)


def test_a_keyframe_survives_the_way_through_a_message():
    descriptor = RANDOM.standard_normal(64).astype(np.float32)
    keyframe = Keyframe(
        id=2**60 + 1,
        stamp_ns=1_700_000_000_123_456_789,
        model="m",
        sparsity=0.25,
        descriptor=descriptor / np.linalg.norm(descriptor),
        frame="camera",
        pose=Pose.planar(1.0, 2.0, 0.5),
        pose_frame="odom",
        features=LocalFeatures(
            keypoints=RANDOM.uniform(0, 640, (5, 2)).astype(np.float32),
            descriptors=RANDOM.integers(0, 256, (5, 32)).astype(np.uint8),
            pixel_size=2.0,
            camera_matrix=np.array([[500.0, 0, 320], [0, 501, 240], [0, 0, 1]]),
            sharpness=1.25,
            clipped=0.5,
        ),
        calibration=Calibration(0.25, 0.875),
        thumbnail=Thumbnail(b"jpeg", 640),
    )
    back = conversions.to_keyframe(conversions.from_keyframe(keyframe))
    assert np.array_equal(back.descriptor, keyframe.descriptor)
    for name in (
        "keypoints",
        "descriptors",
        "camera_matrix",
        "pixel_size",
        "sharpness",
        "clipped",
    ):
        assert np.array_equal(getattr(back.features, name), getattr(keyframe.features, name))
    for name in (
        "id",
        "stamp_ns",
        "model",
        "sparsity",
        "frame",
        "pose",
        "pose_frame",
        "thumbnail",
    ):
        assert getattr(back, name) == getattr(keyframe, name)
    assert back.calibration == keyframe.calibration


def test_a_bare_keyframe_stays_bare():
    bare = Keyframe(1, 2, "m", 0.0, np.array([1.0, 0.0], np.float32))
    back = conversions.to_keyframe(conversions.from_keyframe(bare))
    assert back.pose is None and back.features is None and back.thumbnail is None
    assert math.isnan(back.calibration.score_threshold)


@pytest.mark.parametrize(
    "nanoseconds", [0, 1, 999_999_999, 1_000_000_000, 1_700_000_000_000_000_001]
)
def test_time_goes_both_ways(nanoseconds):
    assert conversions.stamp_ns(conversions.to_time(nanoseconds)) == nanoseconds
    assert isinstance(conversions.to_time(nanoseconds), Time)


@pytest.mark.parametrize("vector", [(0, 0, 0), (0.3, -0.2, 0.9), (0, 0, 3.1), (1e-9, 0, 0)])
def test_a_rotation_becomes_its_quaternion(vector):
    q = conversions._quaternion(cv2.Rodrigues(np.array(vector, float))[0])
    angle = np.linalg.norm(vector)
    assert q.w == pytest.approx(math.cos(angle / 2), abs=1e-9)
    assert (q.x, q.y, q.z) == pytest.approx(
        np.array(vector) * np.sinc(angle / 2 / np.pi) / 2, abs=1e-9
    )


def test_every_field_of_camera_info_is_used():
    assert conversions.to_camera(CameraInfo(), rectified=False) is None, "not calibrated"
    info = CameraInfo(width=640, height=480, binning_x=2, binning_y=2)
    info.k = [500.0, 0, 319.5, 0, 500.0, 239.5, 0, 0, 1]
    info.p = [400.0, 0, 319.5, 0, 0, 400.0, 239.5, 0, 0, 0, 1, 0]
    info.d, info.distortion_model = [0.02, -0.01, 0.003, 0.0], "equidistant"
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 80, 400, 300
    camera = conversions.to_camera(info, rectified=False)
    assert camera.size == (200, 150) and camera.model == "equidistant"
    assert list(camera.distortion) == pytest.approx(info.d)
    assert camera.matrix[[0, 0, 1], [0, 2, 2]] == pytest.approx((250, 109.5, 79.5))
    straight = conversions.to_camera(info, rectified=True)
    assert straight.matrix[0, 0] == 200 and not len(straight.distortion)


def test_who_has_no_database_refuses_hostile_keyframes_and_closures_all_the_same():
    good = messages.keyframe(1, Time(sec=5), has_pose=True)
    good.pose.orientation.w = 1.0
    assert conversions.checked_keyframe(good).pose is not None
    good.pose.position.y = math.nan
    with pytest.raises(KeyframeError, match="the pose is not valid"):
        conversions.checked_keyframe(good)
    closure = LoopClosure(query_id=2, match_id=1, confidence=1.0)
    conversions.check_closure(closure)
    for bad, words in messages.hostile_closures(closure):
        with pytest.raises(KeyframeError, match=words):
            conversions.check_closure(bad)


def test_markers_join_only_what_odometry_joins():
    """Places of another session, or of another frame, have another origin."""
    pose = Pose(1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0)
    bare = Place(0, 0, 1, 1, 0.0, "camera", pose, "odom", None)

    def at(x, **other):
        return dataclasses.replace(bare, pose=dataclasses.replace(pose, x=x), **other)

    markers = conversions.LoopMarkers({}.get)
    others = ({"session": 1}, {"pose_frame": "map"})
    for other in others:
        assert not markers.add(at(4.0), at(5.0, **other))
    assert not markers.add(at(4.0), dataclasses.replace(bare, pose=None))
    assert markers.add(at(4.0), at(5.0)) and markers.add(at(6.0), at(7.0))
    shown = markers.message(Time())
    assert [p.x for p in shown.points] == [4.0, 5.0, 6.0, 7.0] and shown.action == shown.ADD
    for other in others:  # the robot is where the lines mean nothing any more
        assert markers.add(at(4.0, **other), at(5.0))
        assert not markers.message(Time()).points
        assert markers.message(Time()).action == shown.DELETE
        assert markers.add(at(8.0, **other), at(9.0, **other))
        shown = markers.message(Time())
        assert [p.x for p in shown.points] == [8.0, 9.0]
        assert shown.header.frame_id == other.get("pose_frame", "odom")
