# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Descriptors kept on the disk: the same again, by chunks, whatever ends a run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.evaluation import descriptor_store
from vpr_ros.evaluation.descriptor_store import DescriptorStore
from vpr_ros.evaluation.image_changes import CHANGES
from vpr_ros.evaluation.image_set import DatasetError
from vpr_ros.evaluation.methods import Method, Model
from vpr_ros.evaluation.search import search


class Mean(Method):
    """Counts what it describes."""

    name, size, fingerprint = "mean", 2, "digest"

    def __init__(self):
        self.seen = 0

    def describe(self, image, sparsity=0.0):
        self.seen += 1
        angle = np.radians(float(image.mean()) / 3 + 30 * sparsity)
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "set").mkdir()
    for i in range(10):
        cv2.imwrite(str(tmp_path / "set" / f"{i}.png"), np.full((8, 8, 3), 20 * i, np.uint8))
    return sorted((tmp_path / "set").glob("*.png"))


@pytest.fixture(autouse=True)
def chunks_of_four(monkeypatch):
    monkeypatch.setattr(descriptor_store, "CHUNK", 4)


def test_a_second_run_describes_nothing_and_any_change_everything(paths, tmp_path):
    ticks, method, cache = [], Mean(), tmp_path / "cache"
    first = DescriptorStore(cache).describe(method, paths)
    store = DescriptorStore(cache, tick=lambda: ticks.append(1))
    again = store.describe(method, paths)
    assert (method.seen, len(ticks)) == (10, 10)
    assert (first.descriptors == again.descriptors).all()
    assert (first.encode_ms == again.encode_ms).all()
    plain = DescriptorStore().describe(method, paths)
    assert (plain.descriptors == first.descriptors).all() and method.seen == 20
    for sparsity, change in ((0.4, CHANGES[0]), (0.0, CHANGES[0]), (0.4, CHANGES[1])):
        DescriptorStore(cache).describe(method, paths, sparsity, change)
    assert method.seen == 50
    os.utime(paths[3])
    DescriptorStore(cache).describe(method, paths)
    assert method.seen == 60
    method.fingerprint = "other weights"
    DescriptorStore(cache).describe(method, paths)
    assert method.seen == 70
    paths[0].rename(os.fsdecode(bytes(paths[0].with_name("0")) + b"\xfc.png"))  # not UTF-8
    DescriptorStore(cache).describe(method, sorted((tmp_path / "set").iterdir()))
    assert method.seen == 80
    moved = (tmp_path / "set").rename(tmp_path / "moved")
    DescriptorStore(cache).describe(method, sorted(moved.glob("*.png")))
    assert method.seen == 80


@pytest.mark.parametrize("lost", [(0, 1), (1, 0), (17, 3), (40, 40)])
def test_what_is_not_whole_is_done_again(paths, tmp_path, lost):
    """Bytes cut off the two files, and a run that ended between two chunks."""
    method = Mean()
    whole = DescriptorStore(tmp_path / "cache").describe(method, paths)
    expected = np.array(whole.descriptors)
    (folder,) = (tmp_path / "cache").iterdir()
    for name, cut in zip(descriptor_store.FILES, lost, strict=True):
        os.truncate(folder / name, (folder / name).stat().st_size - cut)
    again = DescriptorStore(tmp_path / "cache").describe(method, paths)
    assert (again.descriptors == expected).all() and 10 < method.seen <= 20
    assert (folder / "descriptors").stat().st_size == 40


def test_a_killed_run_goes_on_where_it_was(paths, tmp_path):
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "import test_descriptor_store as t\n"
        "from pathlib import Path\n"
        "t.descriptor_store.CHUNK = 4\n"
        "describe = t.Mean.describe\n"
        "def slow(self, image, sparsity=0.0):\n"
        "    time.sleep(0 if self.seen < 5 else 60)\n"
        "    return describe(self, image, sparsity)\n"
        "t.Mean.describe = slow\n"
        "paths = sorted(Path(sys.argv[2]).glob('*.png'))\n"
        "t.DescriptorStore(Path(sys.argv[3])).describe(t.Mean(), paths)\n"
    )
    cache = tmp_path / "cache"
    arguments = [str(Path(__file__).parent), str(paths[0].parent), str(cache)]
    child = subprocess.Popen([sys.executable, "-c", program, *arguments])
    end = time.monotonic() + 60
    while not any(f.stat().st_size for f in cache.glob("*/times_ms")) and time.monotonic() < end:
        time.sleep(0.05)
    with pytest.raises(DatasetError, match=r"is being written by another run\. Wait for it"):
        DescriptorStore(cache).describe(Mean(), paths)
    child.send_signal(signal.SIGKILL)
    child.wait()
    method = Mean()
    found = DescriptorStore(cache).describe(method, paths)
    assert method.seen == 6  # one chunk of four was there
    assert (found.descriptors == DescriptorStore().describe(method, paths).descriptors).all()


def test_unreadable_images_are_kept_as_such_until_they_can_be_read(paths, tmp_path):
    good, state = paths[5].read_bytes(), paths[5].stat()
    bad = b"x" * len(good)
    paths[5].write_bytes(bad)
    os.utime(paths[5], ns=(state.st_atime_ns, state.st_mtime_ns))
    method, cache = Mean(), tmp_path / "cache"
    for _ in range(2):
        store = DescriptorStore(cache)
        found = store.describe(method, paths)
        assert [*store.unreadable] == [paths[5]] and method.seen == 9
        assert np.isnan(found.descriptors[5]).all() and np.isnan(found.encode_ms[5])
    ranked = search(found.descriptors, found.descriptors)
    assert 5 not in ranked.indices and (ranked.indices[5] == -1).all()
    paths[5].write_bytes(good)  # as after a network drive that was gone
    os.utime(paths[5], ns=(state.st_atime_ns, state.st_mtime_ns))
    store = DescriptorStore(cache)
    found = store.describe(method, paths)
    assert not store.unreadable and np.isfinite(found.descriptors).all()
    for path in paths[:3]:
        path.unlink()
    with pytest.raises(DatasetError, match=r"3 images of 10 .* Is the set complete\?"):
        DescriptorStore(cache).describe(method, paths)


def test_a_full_disk_is_one_line(paths, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(descriptor_store.os, "fsync", full)
    with pytest.raises(DatasetError, match=r"cannot be kept in .*cache.*No space left"):
        DescriptorStore(tmp_path / "cache").describe(Mean(), paths)
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"cannot be kept in .*Not a directory"):
        DescriptorStore(tmp_path / "file").describe(Mean(), paths)


@pytest.mark.parametrize("name", ["tat-vpr-s", "efficientvpr-s", "mobilenetv2-gem"])
def test_a_batch_is_described_as_its_images_one_by_one(tmp_path, name):
    for i in range(5):
        blocks = np.random.default_rng(i).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), cv2.resize(blocks, (320, 240)))
    model, paths = Model(name), sorted(tmp_path.glob("*.png"))
    sparsity = model.sparsity_max
    one = DescriptorStore().describe(model, paths, sparsity)
    many = DescriptorStore(batch=3).describe(model, paths, sparsity)
    likeness = (np.float32(one.descriptors) * np.float32(many.descriptors)).sum(axis=1)
    assert likeness.min() > 0.999
    assert np.isfinite(one.encode_ms).all() and np.isnan(many.encode_ms).all()


def test_a_large_set_is_never_in_memory_as_a_whole(tmp_path):
    """A map of 100 MB, which as float32 would be 200, is searched in 50."""
    rows = np.memmap(tmp_path / "map", np.float16, "w+", shape=(30_000, 1728))
    rows[21_000] = np.float16(1 / np.sqrt(1728))
    script = (
        "import numpy as np, sys\n"
        "from vpr_ros.evaluation.search import search\n"
        "def held_kb():\n"
        "    lines = open('/proc/self/status').read().split('\\n')\n"
        "    return next(int(x.split()[1]) for x in lines if x.startswith('VmHWM'))\n"
        "rows = np.memmap(sys.argv[1], np.float16, 'r', shape=(30_000, 1728))\n"
        "before = held_kb()\n"
        "assert search(rows[21_000:21_010], rows).best[0] == 21_000\n"
        "mapped = rows.nbytes / 1024  # pages that the system drops when it needs them\n"
        "print(held_kb() - before - mapped)\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "map")]
    done = subprocess.run(arguments, capture_output=True, check=True)
    assert float(done.stdout) < 60_000
