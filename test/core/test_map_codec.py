# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places survive the arrays of a map, whatever they have or lack."""

import dataclasses

import numpy as np

from vpr_ros.core.map_codec import pack, unpack
from vpr_ros.core.place import Place
from vpr_ros.core.pose import Pose

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
        )
        for i in range(4)
    ]
    data = pack("m", places, rng.normal(size=(4, 8)).astype(np.float16), [(5, 9)])
    assert [flat(p) for p in unpack(data, range(4))] == [flat(p) for p in places]
    assert [p.id for p in unpack(data, [3, 1])] == [places[3].id, places[1].id]
    assert flat(next(unpack(data, [3]))) == flat(places[3])
    assert data.links.tolist() == [[5, 9]]


def test_a_place_does_not_keep_the_whole_map_in_memory(make_features):
    place = Place(0, 0, 0, 0, 0.0, "", None, "", make_features(np.ones((3, 2))))
    data = pack("m", [place], np.ones((1, 8), np.float16), [])
    (again,) = unpack(data, [0])
    assert again.features.keypoints.base is None
    assert again.nbytes == place.nbytes > 3 * (8 + 32)
