# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places become arrays and places again, and no array with an impossible value is taken."""

import dataclasses

import numpy as np
import pytest

from bench.map_faults import sample_map
from vpr_ros.core.errors import KeyframeError
from vpr_ros.core.keyframe import Keyframe, LocalFeatures, Place, Thumbnail
from vpr_ros.core.map_data import check, check_keyframe, pack, unpack
from vpr_ros.core.pose import Pose

# Places to arrays and back

MATRIX = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])


def flat(place):
    """Comparable fields of a place."""
    features = place.features
    values = dataclasses.astuple(dataclasses.replace(place, features=None))
    return values if features is None else (*values, *map(str, vars(features).values()))


def test_round_trip(make_features):
    rng = np.random.default_rng(0)
    features = [
        None,
        make_features(rng.random((3, 2)), 1),
        make_features(np.empty((0, 2))),  # sought, none found
        make_features(rng.random((2, 2)), 2, camera_matrix=MATRIX),
    ]
    poses = [Pose.planar(1, 2, 3), None, Pose.planar(0, 0, 0), None]
    places = [
        Place(
            sequence=5 + 2 * i,
            session=i // 2,
            id=2**64 - 1 - i,
            stamp_ns=2**60 + i,
            sparsity=0.25,
            frame=f"camera_{i % 2}",
            pose=poses[i],
            pose_frame="odom" if poses[i] else "",
            features=features[i],
            thumbnail=Thumbnail(b"ab" * i, 640 + i) if i % 2 else None,
            provider="CPU, CUDA",
        )
        for i in range(4)
    ]
    data = pack("m", places, rng.normal(size=(4, 8)).astype(np.float16), [(5, 9)])
    assert [flat(p) for p in unpack(data, range(4))] == [flat(p) for p in places]
    assert [p.id for p in unpack(data, [3, 1])] == [places[3].id, places[1].id]
    assert flat(next(unpack(data, [3]))) == flat(places[3])
    assert data.links.tolist() == [[5, 9]]
    # A map made by several does not say which keyframe by which, nor by any number of them.
    assert data.providers == ("CPU", "CUDA")
    strange = [dataclasses.replace(places[0], provider=f"p{n:03d}") for n in range(99)]
    data = pack("m", strange, np.zeros((99, 8), np.float16), [])
    assert data.providers == tuple(f"p{n:03d}" for n in range(16))


def test_a_place_does_not_keep_the_whole_map_in_memory(make_features):
    place = Place(0, 0, 0, 0, 0.0, "", None, "", make_features(np.ones((3, 2))))
    data = pack("m", [place], np.ones((1, 8), np.float16), [])
    (again,) = unpack(data, [0])
    assert again.features.keypoints.base is None
    assert again.nbytes == place.nbytes > 3 * (8 + 32)


def test_features_of_two_kinds_in_one_map():
    """As when a map of one kind is loaded and the encoder makes the other."""
    data = sample_map(5)
    first, _, third = (place.features for place in unpack(data, range(3)))
    assert first.kind == "sift" and third.kind == "orb"
    assert np.array_equal(first.descriptors.ravel(), data.feature_descriptors[:256])
    assert np.array_equal(third.descriptors.ravel(), data.feature_descriptors[256:])


# The schema

NAN, INF = float("nan"), float("inf")
JPEG = sample_map(1).thumbnails.tobytes()  # 16 x 12 px


def changed(name, row, value):
    """A map with one value altered."""
    data = sample_map(5)
    array = getattr(data, name).copy()
    array[row] = value
    return dataclasses.replace(data, **{name: array})


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("ids", 1, 2**63, "an id occurs twice"),
        ("sequence", 1, 5, "sequence is out of order"),
        ("sequence", 4, 2**62, "sequence is out of range, in row 4"),
        ("sessions", 2, -(2**63), "sessions is out of range, in row 2"),
        ("stamps_ns", 3, -1, "the stamp is out of range, in row 3"),
        ("stamps_ns", 3, 2**31 * 10**9, "the stamp is out of range"),
        ("sparsity", 0, NAN, r"the sparsity is not in \[0, 1\]"),
        ("frames", (0, 1), 3, "the frame has no name"),
        ("frames", (4, 0), -1, "the frame has no name"),
        ("poses", (0, 1), NAN, "the pose is not valid"),
        ("poses", (0, 1), 1e300, "the pose is not valid"),
        ("poses", (0, slice(3, 7)), 0, "the pose is not valid"),
        ("descriptors", 2, 0, "the descriptor is not of unit length, in row 2"),
        ("descriptors", 2, 1000, "the descriptor is not of unit length"),
        ("descriptors", (2, 3), INF, "the descriptor is not of unit length"),
        ("feature_counts", 0, 3, "3 keypoints for a count of 4"),
        ("feature_counts", 1, 2**62, "the number of features is out of range"),
        ("feature_sizes", 0, 64, "the size of a feature's descriptor is unknown"),
        ("feature_sizes", 0, 32, "288 bytes of feature descriptors"),
        ("keypoints", 0, NAN, "a keypoint is outside"),
        ("pixel_sizes", 0, INF, "the pixel size of the features is out of range"),
        ("pixel_sizes", 0, 0, "the pixel size"),
        ("sharpness", 1, -1, "the sharpness of the image is out of range, in row 1"),
        ("sharpness", 0, NAN, "the sharpness"),
        ("clipped", 2, 1.5, r"the share of clipped pixels is not in \[0, 1\], in row 2"),
        ("camera_matrices", (0, 2, 2), 0, "the camera matrix is not that of a camera"),
        ("camera_matrices", (0, 0, 0), -300, "the camera matrix"),
        ("camera_matrices", (1, 0, 0), 1, "the camera matrix"),
        ("thumbnail_sizes", 1, -1, "the size of the thumbnail is out of range, in row 1"),
        ("thumbnail_sizes", 1, 65_537, "the size of the thumbnail is out of range"),
        ("thumbnail_sizes", 1, 9, "bytes of thumbnails for"),
        ("thumbnails", 0, 0, "a thumbnail, is no JPEG"),
        ("thumbnails", -1, 0, "a thumbnail, is cut short"),
        ("image_widths", 4, 0, "the image width is out of range, in row 4"),
        ("image_widths", 4, 2**40, "the image width is out of range"),
        ("links", 0, [3, 3], "a link does not lead"),
        ("links", 0, [0, 99], "a link does not lead"),
    ],
)
def test_impossible_values_are_named(name, row, value, message):
    check(sample_map(5))
    with pytest.raises(ValueError, match=message):
        check(changed(name, row, value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stamps_ns": np.zeros(4, np.int64)}, r"stamps_ns is <i8 \(4,\) for 5 keyframes"),
        ({"ids": np.zeros(5, np.int64)}, "ids is <i8"),
        ({"poses": np.zeros((5, 6))}, "poses is"),
        ({"descriptors": np.zeros((5, 0), np.float16)}, "descriptors have 0 values"),
        ({"descriptors": np.ones((5, 1))}, "descriptors is <f8"),
        ({"names": ("",) * 99}, "99 names"),
        ({"names": ("", "c" * 300, "odom")}, "is no name"),
        ({"names": ("", "\ud800", "odom")}, "surrogates not allowed"),
        ({"model": None}, "'None'... is no name"),
        ({"model_digest": "a\0b"}, "is no name"),
        ({"providers": ("p",) * 17}, "17 providers"),
        ({"providers": ("p" * 300,)}, "is no name"),
    ],
)
def test_impossible_parts_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        check(dataclasses.replace(sample_map(5), **change))


def features(count=3, **changes):
    fields = {
        "keypoints": np.ones((count, 2), np.float32),
        "descriptors": np.zeros((count, 32), np.uint8),
    }
    return LocalFeatures(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"stamp_ns": -1},
        {"stamp_ns": 2**31 * 10**9},
        {"sparsity": NAN},
        {"sparsity": 1.5},
        {"frame": "f" * 10**6},
        {"pose_frame": "f" * 257},
        {"model": "m" * 257},
        {"model_digest": "d" * 257},
        {"pose": Pose(0, 0, 0, 0, 0, 0, 0)},
        {"pose": Pose(NAN, 0, 0, 0, 0, 0, 1)},
        {"pose": Pose(0, 1e10, 0, 0, 0, 0, 1)},
        {"pose": Pose(0, 0, 0, 0, 0, 0, 1e200)},
        {"features": features(5001)},
        {"features": features(pixel_size=INF)},
        {"features": features(pixel_size=-1.0)},
        {"features": features(sharpness=INF)},
        {"features": features(clipped=-0.5)},
        {"features": features(keypoints=np.full((3, 2), INF, np.float32))},
        {"features": features(descriptors=np.zeros((2, 32), np.uint8))},
        {"features": features(camera_matrix=np.full((3, 3), 7.0))},
        {"thumbnail": Thumbnail(b"x" * 3000, 640)},
        {"thumbnail": Thumbnail(b"\x89PNG\r\n\x1a\n", 640)},
        {"thumbnail": Thumbnail(JPEG[:-9], 640)},
        {"thumbnail": Thumbnail(JPEG.replace(b"\0\x0c\0\x10", b"\x7f\xff\x7f\xff"), 640)},
        {"thumbnail": Thumbnail(JPEG, 0)},
    ],
    ids=str,
)
def test_a_keyframe_meets_the_same_schema(changes):
    row = np.full(4, 0.5, np.float32)
    keyframe = Keyframe(7, 0, "m", 0.5, row, features=features(), pose=Pose.planar(1, 2, 3))
    keyframe = dataclasses.replace(keyframe, thumbnail=Thumbnail(JPEG, 640))
    check_keyframe(keyframe)
    with pytest.raises(KeyframeError, match="Keyframe 7 was refused: ") as error:
        check_keyframe(dataclasses.replace(keyframe, **changes))
    assert len(str(error.value)) < 300
