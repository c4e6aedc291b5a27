# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A map is written whole or not at all, and damage is always found."""

import dataclasses
import errno
import fcntl
import json
import os
import resource
import secrets
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from bench.map_faults import sample_map as map_of
from vpr_ros.core import durable_file
from vpr_ros.core.durable_file import file_stamp
from vpr_ros.core.errors import MapError
from vpr_ros.core.map_data import ARRAYS, MapData, unpack
from vpr_ros.core.map_file import map_path, read_map, write_map


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
    stamp = write_map(path, OLD)
    assert stamp == file_stamp(path) and stamp.size == path.stat().st_size
    assert equal(read_map(path), OLD)
    write_map(path, NEW, overwrite=True)
    assert equal(read_map(path), NEW) and not equal(NEW, OLD)
    assert os.listdir(path.parent) == ["map.vprmap"]


@pytest.mark.parametrize("name", ["none.vprmap", "none/none.vprmap", "n" * 300])
def test_a_missing_map_is_named(tmp_path, name, monkeypatch):
    with pytest.raises(MapError, match=f"Map {tmp_path / name} does not exist"):
        read_map(tmp_path / name)
    monkeypatch.setattr(os, "stat", MagicMock(side_effect=PermissionError))
    with pytest.raises(MapError, match=f"{tmp_path / name} is not readable"):
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
    at = whole.index(b"(288,)")
    path.write_bytes(whole[:at] + b"(256,)" + whole[at + 6 :])
    with pytest.raises(MapError, match="CRC"):
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


def test_a_format_of_the_future_is_refused(path, monkeypatch):
    monkeypatch.setattr("vpr_ros.core.map_file.FORMAT", 5)
    write_map(path, OLD, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(MapError, match="has format 5; this version of vpr_ros reads 1 to 4"):
        read_map(path)


def test_pickles_are_never_opened(path):
    with np.load(path) as archive:
        arrays = dict(archive.items())
    with path.open("wb") as file:
        np.savez(file, **arrays | {"ids": np.array([print] * 5)})
    with pytest.raises(MapError, match="damaged"):
        read_map(path)


def test_a_map_that_needs_too_much_memory_is_refused_before_it_is_read(path, monkeypatch):
    monkeypatch.setattr(np, "frombuffer", None)
    with pytest.raises(MapError, match=r"needs 0 MB of memory.*database.max_mb"):
        read_map(path, 5 * 600)


def test_a_small_file_that_announces_a_large_one_is_refused(path, tmp_path):
    with np.load(path) as archive:
        arrays = dict(archive.items())
    arrays["descriptors"] = np.zeros((5, 100_000), np.float16)
    np.savez_compressed(tmp_path / "bomb", **arrays)
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    with pytest.raises(MapError, match="compressed"):
        read_map(tmp_path / "bomb.npz")


# What may be replaced, and by whom


def test_what_is_no_regular_file_is_neither_read_nor_replaced(path, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    before = path.read_bytes()
    for odd in (*(tmp_path / name for name in ("folder", "link", "dangling", "fifo")), Path("/")):
        with pytest.raises(MapError, match="not a regular file"):
            read_map(odd)
        with pytest.raises(MapError, match=r"not a regular file|cannot be written"):
            write_map(odd, NEW, overwrite=True)
    with pytest.raises(MapError, match="not a regular file"):
        read_map(Path("/dev/zero"))
    assert path.read_bytes() == before and (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["dangling", "fifo", "folder", "link", "old.vprmap"]


@pytest.mark.parametrize(
    "content", [b"", b"my notes", b"PK\x03\x04 a zip, but no map" + bytes(99)]
)
def test_only_what_begins_as_a_map_is_replaced(path, content):
    path.write_bytes(content)
    with pytest.raises(MapError, match="is not a map, so it is not overwritten"):
        write_map(path, NEW, overwrite=True)
    assert path.read_bytes() == content


def test_a_damaged_map_may_be_replaced(path):
    path.write_bytes(path.read_bytes()[:500])
    write_map(path, NEW, overwrite=True)
    assert equal(read_map(path), NEW)


def test_a_map_that_another_has_saved_meanwhile_is_not_replaced(path):
    mine = file_stamp(path)
    theirs = write_map(path, NEW, mine)
    with pytest.raises(MapError, match="or has been changed since"):
        write_map(path, OLD, mine)
    assert equal(read_map(path), NEW) and file_stamp(path) == theirs


def test_the_same_file_with_another_inode_and_time_is_the_same(path):
    """As on a USB stick (FAT) and some networks, once the system has forgotten the inode."""
    known = file_stamp(path)
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, (0, 0))
    os.replace(copy, path)
    assert file_stamp(path) == known
    write_map(path, NEW, known)
    assert equal(read_map(path), NEW)


def test_a_change_in_the_middle_is_a_change(tmp_path, monkeypatch):
    """Which only the checksums at the end of the file tell."""
    monkeypatch.setattr(durable_file, "END_BYTES", 4096)
    data, path = map_of(300), tmp_path / "a.vprmap"
    middle = data.descriptors.copy()
    middle[150] = -middle[150]
    one = write_map(path, data)
    before = path.read_bytes()
    other = write_map(path, dataclasses.replace(data, descriptors=middle), one)
    assert one.size == other.size and one != other
    assert path.read_bytes()[:4096] == before[:4096]  # the change lies behind


def test_two_writers_leave_one_whole_map_and_one_error(path, tmp_path):
    """Both know the map of before; the later one must not undo what the first has saved."""
    known = file_stamp(path)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(write_map, path, map_of(20 + i), known) for i in range(8)]
    errors = [f.exception() for f in futures]
    assert sum(e is None for e in errors) == 1
    assert all("changed since" in str(e) for e in errors if e is not None)
    (winner,) = [i for i, e in enumerate(errors) if e is None]
    assert equal(read_map(path), map_of(20 + winner))
    assert os.listdir(tmp_path) == [path.name]


def test_leftovers_of_a_killed_save_go_but_not_those_of_one_in_progress(path):
    left = path.with_name(f".{path.name}.0123abcd.tmp")
    left.write_bytes(b"half a map")
    other = path.with_name(f".{path.name}.4567abcd.tmp")
    other.write_bytes(b"half a map, still growing")
    with other.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_map(path, NEW, overwrite=True)
    assert not left.exists() and other.exists()


def test_temporary_files_follow_no_links(path, tmp_path, monkeypatch):
    """Whoever guesses the name in advance gains nothing."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    guesses = iter(["guessed", "guessed", "free"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(guesses))
    path.with_name(f".{path.name}.guessed.tmp").symlink_to(victim)
    write_map(path, NEW, overwrite=True)
    assert victim.read_text() == "precious" and equal(read_map(path), NEW)


# Names from the network


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("office", "office.vprmap"),
        ("office.vprmap", "office.vprmap"),
        ("2nd floor.old", "2nd floor.old.vprmap"),
        ("büro", "büro.vprmap"),
        ("{}/office", "office.vprmap"),
        ("{}/office.vprmap", "office.vprmap"),
        ("{}/../maps/office", "office.vprmap"),
    ],
)
def test_names_lead_to_files_of_the_folder(tmp_path, name, file):
    folder = tmp_path / "maps"
    assert map_path(folder, name.format(folder)) == folder / file


@pytest.mark.parametrize(
    "name",
    [
        "", "/", ".", "..", "/etc/passwd", "../office", "sub/office", "a/../office", "./office",
        "{}/sub/office", "{}/../office", "{}office", "{}/", "{}/.hidden", ".hidden", "~/office",
        "~root/office", "a\0b", "a\nb", "a\x1bb", "n" * 122, "ü" * 61, "\ud800", "x" * 10**6,
        "/" * 10**5, "../" * 10**4 + "etc/passwd", "//office", "/office",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    with pytest.raises(MapError, match=r"is not the name of a map.*map_folder") as error:
        map_path(tmp_path / "maps", name.format(tmp_path / "maps"))
    assert len(str(error.value)) < 500


# What survives


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
            write_map(path, NEW, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert equal(read_map(path), OLD)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_failing_disk_leaves_the_old_map(path, monkeypatch, call):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(MapError, match=r"Input/output error.*Earlier maps are untouched"):
        write_map(path, NEW, overwrite=True)
    assert equal(read_map(path), OLD)
    assert os.listdir(path.parent) == [path.name]


def test_the_new_map_is_on_disk_before_it_takes_the_name(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: (calls.append("fsync"), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda *a, **k: (calls.append("replace"), replace(*a, **k)))
    write_map(path, NEW, overwrite=True)
    assert calls == ["fsync", "replace", "fsync"]  # the file, the name, the folder

    def without_folders(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", without_folders)
    write_map(path, OLD, overwrite=True)
    assert equal(read_map(path), OLD)


SAVER = """
import sys
from pathlib import Path
from bench.map_faults import sample_map
from vpr_ros.core.map_file import write_map
maps = [sample_map(n, size=256) for n in (9000, 9001)]
print("ready", flush=True)
while True:
    for data in maps:
        write_map(Path(sys.argv[1]), data, overwrite=True)
"""


def test_a_kill_at_any_point_leaves_a_whole_map(path):
    interrupted = 0
    for delay_ms in (3, 10, 17, 26, 38, 55):
        arguments = [sys.executable, "-c", SAVER, str(path)]
        root = Path(__file__).parents[2]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=root) as saver:
            assert saver.stdout.readline() == b"ready\n"
            time.sleep(delay_ms / 1000)
            saver.send_signal(signal.SIGKILL)
        data = read_map(path)
        assert equal(data, OLD) or equal(data, map_of(len(data.ids), size=256))
        for rest in path.parent.glob(".*"):
            interrupted += 1
            rest.unlink()
    assert interrupted  # some kills really came in the middle


def test_maps_of_earlier_formats_are_read(path):
    """Format 1 holds ORB descriptors as rows, 1 and 2 have no thumbnails, 1 to 3 no sharpness."""
    with np.load(path) as archive:
        arrays = dict(archive.items())
    header = json.loads(bytes(arrays["header"]))

    def write(format):
        content = json.dumps({**header, "format": format}).encode()
        arrays["header"] = np.frombuffer(content, np.uint8)
        with path.open("wb") as file:
            np.savez(file, **arrays)

    for name in ("sharpness", "clipped"):
        del arrays[name]
    write(3)
    places = list(unpack(read_map(path), range(5)))
    assert places[0].thumbnail and places[0].features.sharpness == 0.0  # unknown
    for name in ("thumbnail_sizes", "thumbnails", "image_widths"):
        del arrays[name]
    write(2)
    places = list(unpack(read_map(path), range(5)))
    assert not any(p.thumbnail for p in places) and places[0].features.kind == "sift"
    del arrays["feature_sizes"]
    arrays["feature_descriptors"] = np.arange(3 * 32, dtype=np.uint8).reshape(3, 32)
    write(1)
    first, second, third = (place.features for place in unpack(read_map(path), range(3)))
    assert second is None and first.kind == third.kind == "orb"
    assert np.array_equal(first.descriptors, arrays["feature_descriptors"][:2])
    assert np.array_equal(third.descriptors, arrays["feature_descriptors"][2:])


def test_a_map_of_no_keyframes_is_refused(path):
    none = {name: getattr(read_map(path), name)[:0] for name in ARRAYS}
    empty = path.with_name("empty.vprmap")
    write_map(empty, dataclasses.replace(read_map(path), names=(), **none))
    with pytest.raises(MapError, match="it has 0 keyframes"):
        read_map(empty)
