# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A map is written whole or not at all, and damage is always found."""

import dataclasses
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.core.errors import MapError
from vpr_ros.core.keyframe import Place
from vpr_ros.core.map_file import MapData, pack, read_map, unpack, write_map
from vpr_ros.core.pose import Pose


def map_of(count, size=8, seed=0):
    """A map of `count` keyframes, the first with two SIFT features, the third with one of ORB."""
    rng = np.random.default_rng(seed)
    rows = np.arange(count)
    return MapData(
        model="m",
        model_digest="",
        names=("", "camera", "odom"),
        ids=rows.astype(np.uint64) + 2**63,
        sequence=rows,
        sessions=rows // 10,
        stamps_ns=rows * 10**9,
        sparsity=np.zeros(count, np.float32),
        frames=np.tile([1, 2], (count, 1)),
        poses=rng.normal(size=(count, 7)),
        descriptors=rng.normal(size=(count, size)).astype(np.float16),
        feature_counts=np.select([rows == 0, rows == 2], [2, 1], -1),
        keypoints=np.ones((3, 2), np.float32),
        feature_sizes=np.select([rows == 0, rows == 2], [128, 32], 0),
        feature_descriptors=np.arange(2 * 128 + 32, dtype=np.uint8),
        pixel_sizes=np.where(rows % 2 == 0, 1.6, np.nan).astype(np.float32),
        camera_matrices=np.full((count, 3, 3), np.nan),
        links=np.array([[0, count - 1]]),
    )


def equal(a, b):
    def same(x, y):
        if isinstance(x, np.ndarray):
            return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        return x == y

    names = [field.name for field in dataclasses.fields(MapData)]
    return all(same(getattr(a, name), getattr(b, name)) for name in names)


OLD, NEW = map_of(5), map_of(7, seed=1)


@pytest.fixture
def path(tmp_path):
    """Where OLD is saved."""
    path = tmp_path / "old.vprmap"
    write_map(path, OLD)
    return path


def test_round_trip_into_a_new_folder(tmp_path):
    path = tmp_path / "a" / "b" / "map.vprmap"
    assert write_map(path, OLD) == path.stat().st_size
    assert equal(read_map(path), OLD)
    write_map(path, NEW)
    assert equal(read_map(path), NEW) and not equal(NEW, OLD)
    assert os.listdir(path.parent) == ["map.vprmap"]


@pytest.mark.parametrize("name", ["none.vprmap", "", "none/none.vprmap", "n" * 300])
def test_a_missing_map_is_named(tmp_path, name):
    with pytest.raises(MapError, match=f"Map {tmp_path / name} does not exist"):
        read_map(tmp_path / name)


def test_a_map_cut_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        with pytest.raises(MapError, match="damaged"):
            read_map(path)


def test_a_flipped_bit_is_found_or_does_no_harm(path):
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    # A sample of the contents, more of the zip directory, which no checksum covers.
    directory = whole.index(b"PK\x01\x02")
    for position in [*range(0, directory, 11), *range(directory, len(whole), 3)]:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            assert equal(read_map(path), OLD), f"byte {position}"
        except MapError:
            found += 1
    assert found > len(whole) // 20


def test_a_shortened_array_is_found(path):
    # The sum of an array covers its header, but NumPy would stop reading before checking it.
    whole = path.read_bytes()
    at = whole.index(b"(5, 8)")
    path.write_bytes(whole[:at] + b"(5, 7)" + whole[at + 6 :])
    with pytest.raises(MapError, match="checksum"):
        read_map(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"no map", b"\x80\x04.", b"PK\x03\x04" + bytes(100), b"\x93NUMPY\x01\x00" + bytes(99)],
    ids=["empty", "text", "pickle", "zip", "npy"],
)
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(MapError, match="damaged"):
        read_map(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(MapError, match="damaged"):
        read_map(tmp_path / "array.npy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stamps_ns": np.zeros(4, np.int64)}, "stamps_ns has 4 rows for 5 keyframes"),
        ({"keypoints": np.zeros((1, 2), np.float32)}, "1 keypoints for a count of 3"),
        ({"descriptors": np.full((5, 8), np.nan, np.float16)}, "descriptors are not finite"),
        ({"descriptors": np.zeros(5, np.float16)}, "descriptors are not finite"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(path, changes, message):
    write_map(path, dataclasses.replace(OLD, **changes))
    with pytest.raises(MapError, match=message):
        read_map(path)


def test_a_format_of_the_future_is_refused(path, monkeypatch):
    monkeypatch.setattr("vpr_ros.core.map_file.FORMAT", 3)
    write_map(path, OLD)
    monkeypatch.undo()
    with pytest.raises(MapError, match="has format 3; this version of vpr_ros reads 1 and 2"):
        read_map(path)


def test_pickles_are_never_opened(path):
    write_map(path, dataclasses.replace(OLD, ids=np.array([print] * 5)))
    with pytest.raises(MapError, match="damaged"):
        read_map(path)


@pytest.mark.parametrize("folder", ["file/map", "file/deep/map", "n" * 300, "/proc/map"])
def test_an_unwritable_folder_is_named(tmp_path, folder):
    (tmp_path / "file").touch()  # permissions would not stop root
    path = tmp_path / folder
    with pytest.raises(MapError, match=f"Map {path} cannot be written .*choose a folder"):
        write_map(path, OLD)


def test_a_full_disk_leaves_the_old_map(path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, limits[1]))
    try:
        with pytest.raises(MapError, match=r"cannot be written \(File too large\)"):
            write_map(path, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert equal(read_map(path), OLD)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_failing_disk_leaves_the_old_map(path, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(MapError, match=r"Input/output error.*Earlier maps are untouched"):
        write_map(path, NEW)
    assert equal(read_map(path), OLD)
    assert os.listdir(path.parent) == [path.name]


def test_the_new_map_is_on_disk_before_it_takes_the_name(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (calls.append("fsync"), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    write_map(path, NEW)
    assert calls == ["fsync", "replace", "fsync"]  # the file, the name, the folder


SAVER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_map_file import map_of, write_map
maps = [map_of(n, size=256) for n in (9000, 9001)]
print("ready", flush=True)
while True:
    for data in maps:
        write_map(Path(sys.argv[1]), data)
"""


def test_a_kill_at_any_point_leaves_a_whole_map(path):
    interrupted = 0
    for delay_ms in (3, 10, 17, 26, 38, 55):
        folders = [str(folder) for folder in Path(__file__).parents[0:3:2]]  # test/core, root
        arguments = [sys.executable, "-c", SAVER, str(path), *folders]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as saver:
            assert saver.stdout.readline() == b"ready\n"
            time.sleep(delay_ms / 1000)
            saver.send_signal(signal.SIGKILL)
        data = read_map(path)
        assert equal(data, OLD) or equal(data, map_of(len(data.ids), size=256))
        for rest in path.parent.glob(".*"):
            interrupted += 1
            rest.unlink()
    assert interrupted  # some kills really came in the middle


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


def test_features_of_two_kinds_in_one_map():
    """As when a map of one kind is loaded and the encoder makes the other."""
    first, _, third = (place.features for place in unpack(OLD, range(3)))
    assert first.kind == "sift" and third.kind == "orb"
    assert np.array_equal(first.descriptors.ravel(), OLD.feature_descriptors[:256])
    assert np.array_equal(third.descriptors.ravel(), OLD.feature_descriptors[256:])


def test_a_map_from_before_there_was_a_choice_of_features(path):
    """Format 1 holds ORB descriptors as rows."""
    with np.load(path) as archive:
        arrays = dict(archive.items())
    header = {**json.loads(bytes(arrays["header"])), "format": 1}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    del arrays["feature_sizes"]
    arrays["feature_descriptors"] = np.arange(3 * 32, dtype=np.uint8).reshape(3, 32)
    with path.open("wb") as file:
        np.savez(file, **arrays)
    first, second, third = (place.features for place in unpack(read_map(path), range(3)))
    assert second is None and first.kind == third.kind == "orb"
    assert np.array_equal(first.descriptors, arrays["feature_descriptors"][:2])
    assert np.array_equal(third.descriptors, arrays["feature_descriptors"][2:])
