# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Descriptors of many images: computed in batches, in half precision, kept on the disk if wanted.

250,000 descriptors of 3456 values take 1.7 GB in half precision. On the disk they grow by whole
chunks, so that a run that was killed goes on where it was, and are read by the block.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ImageError
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image
from vpr_ros.evaluation.image_changes import AS_TAKEN, Change
from vpr_ros.evaluation.image_set import DatasetError
from vpr_ros.evaluation.methods import Method

CHUNK = 256  # images between two writes
MOST_UNREADABLE = 0.05  # of a list; one image always may be
UNREADABLE = -1.0  # in place of a time
PRECISION = np.dtype(np.float16)  # as in the robot's map
READERS = 8  # threads that decode a batch
FILES = ("descriptors", "times_ms")  # of one list of images


@dataclasses.dataclass(frozen=True)
class Described:
    """N images as one method describes them."""

    method: str
    descriptors: npt.NDArray[np.floating]  # (N, D) of unit length; NaN: cannot be read
    encode_ms: npt.ArrayLike  # (N) NaN: not timed
    sparsity: float = 0.0
    change: str = AS_TAKEN.name  # of the images


class DescriptorStore:
    """Describes lists of images, and notes which cannot be read."""

    def __init__(
        self,
        folder: Path | None = None,
        batch: int = 1,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """`folder`: where the descriptors of models are kept from run to run; None: nowhere.

        With a `batch` of several images the network runs on all at once, and times nothing.
        """
        self.unreadable: dict[Path, str] = {}  # and why
        self.tick = tick  # called once per image
        self._folder, self._batch = folder, batch

    def describe(
        self,
        method: Method,
        paths: Sequence[Path],
        sparsity: float = 0.0,
        change: Change = AS_TAKEN,
    ) -> Described:
        """The images as a method describes them; DatasetError if too many cannot be read."""
        kept = self._folder is not None and method.fingerprint
        folder = self._place(method, paths, sparsity, change) if kept else None
        rows = _Rows(folder, len(paths), method.size)
        for number in np.flatnonzero(rows.times == UNREADABLE).tolist():
            if self._read(paths[number], change) is not None:  # it can be read now
                rows.cut(number)
                break
        for _ in range(rows.done):
            self.tick()
        with ThreadPoolExecutor(READERS) as readers:
            read = map if self._batch == 1 else readers.map
            for start in range(rows.done, len(paths), CHUNK):
                chunk = paths[start : start + CHUNK]
                rows.append(*self._chunk(method, chunk, sparsity, change, read))
                self._check(paths)
        times_ms = np.where(rows.times == UNREADABLE, np.nan, rows.times)
        return Described(method.name, rows.close(), times_ms, sparsity, change.name)

    def _chunk(
        self, method: Method, paths: Sequence[Path], sparsity: float, change: Change,
        read: Callable[..., Iterable[Image | None]],
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.float32]]:  # fmt: skip
        """Descriptors (C, D) and times (C) of one chunk."""
        descriptors = np.full((len(paths), method.size), np.nan, PRECISION)
        times = np.full(len(paths), UNREADABLE, np.float32)
        for start in range(0, len(paths), self._batch):
            part = paths[start : start + self._batch]
            images = list(read(lambda path: self._read(path, change), part))
            shown = {n: image for n, image in enumerate(images, start) if image is not None}
            if shown:
                started = time.perf_counter()
                descriptors[[*shown]] = method.describe_all([*shown.values()], sparsity)
                taken_ms = 1e3 * (time.perf_counter() - started)
                times[[*shown]] = taken_ms if self._batch == 1 else np.nan
            for _ in part:
                self.tick()
        return descriptors, times

    def _check(self, paths: Sequence[Path]) -> None:
        """DatasetError if too many of a list cannot be read."""
        if not self.unreadable:
            return
        gone = [path for path in paths if path in self.unreadable]
        if len(gone) > max(1, MOST_UNREADABLE * len(paths)):
            raise DatasetError(
                f"{len(gone)} images of {len(paths)} cannot be read, the first: "
                f"{self.unreadable[gone[0]]} Is the set complete?"
            )

    def _read(self, path: Path, change: Change) -> Image | None:
        try:
            return change.apply(read_image(path))
        except ImageError as error:
            self.unreadable[path] = str(error)
            return None

    def _place(
        self, method: Method, paths: Sequence[Path], sparsity: float, change: Change
    ) -> Path:
        """The folder for these images, described this way; another one if any of them changes."""
        assert self._folder is not None
        key = hashlib.sha256(f"{method.fingerprint} {sparsity:g} {change.words}".encode())
        root = os.path.commonpath([path.absolute() for path in paths])
        for path in paths:
            state = path.stat() if path.exists() else None
            size = (state.st_size, state.st_mtime_ns) if state else "is not there"
            key.update(os.fsencode(f"{os.path.relpath(path.absolute(), root)} {size}\n"))
        return self._folder / f"{Path(method.name).stem}-{sparsity:g}-{key.hexdigest()[:24]}"


class _Rows:
    """Descriptors that arrive by the chunk, in two files: what both have in full is done."""

    def __init__(self, folder: Path | None, count: int, size: int) -> None:
        """Goes on with the files in `folder`; without one they have no name and end with it."""
        self._shape, self._where = (count, size), folder or Path(tempfile.gettempdir())
        self._row_bytes = size * PRECISION.itemsize, np.dtype(np.float32).itemsize
        try:
            if folder is None:
                self._files = [tempfile.TemporaryFile() for _ in FILES]  # noqa: SIM115
            else:
                folder.mkdir(parents=True, exist_ok=True)
                self._files = [open(folder / name, "a+b") for name in FILES]  # noqa: SIM115
                fcntl.flock(self._files[1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(f"{folder} is being written by another run. Wait for it.") from None
        except OSError as error:
            raise self._failed(error) from None
        lengths = [os.fstat(file.fileno()).st_size for file in self._files]
        whole = [n // row for n, row in zip(lengths, self._row_bytes, strict=True)]
        self._files[1].seek(0)
        self.times = np.frombuffer(self._files[1].read(), np.float32, min(*whole, count))
        self.cut(len(self.times))

    @property
    def done(self) -> int:
        """Images that are described."""
        return len(self.times)

    def cut(self, done: int) -> None:
        """Forget all but the first."""
        self.times = self.times[:done]
        for file, row in zip(self._files, self._row_bytes, strict=True):
            file.truncate(row * done)
            file.seek(row * done)

    def append(self, values: npt.NDArray[np.floating], times: npt.NDArray[np.float32]) -> None:
        """Add the next chunk."""
        try:
            for file, part in zip(self._files, (values, times), strict=True):
                file.write(part.tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._failed(error) from None
        self.times = np.concatenate([self.times, times])

    def close(self) -> npt.NDArray[np.floating]:
        """All of them (N, D), read from the disk when they are used."""
        found = np.memmap(self._files[0], PRECISION, "r", shape=self._shape)
        for file in self._files:
            file.close()
        return found

    def _failed(self, error: OSError) -> DatasetError:
        return DatasetError(f"Descriptors cannot be kept in {self._where} ({error}).")
