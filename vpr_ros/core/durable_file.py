# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files written completely or not at all, even by several processes or to a full disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from vpr_ros.core.errors import MapError

LOCK_S = 5.0  # how long to wait for others that save to the same folder
END_BYTES = 2**20
UNSUPPORTED = errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL  # by some file systems
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileStamp(NamedTuple):
    """What distinguishes a file from others of its name.

    A map, which is a zip, has the checksums of all its parts at its end. Inode and time would say
    less: on USB sticks (FAT) and some networks they change while the file does not.
    """

    size: int  # bytes
    checksum: int  # of the first and the last END_BYTES


def absolute(path: Path) -> Path:
    """The absolute path, `~` expanded; unlike Path.expanduser this never raises."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def file_stamp(path: Path) -> FileStamp | None:
    """What distinguishes a file from a later one of the same name; None if there is none.

    Raises MapError if the name belongs to anything but a regular file, or nobody may look.
    """
    try:
        with open_regular(path) as file:
            return _stamp(file)
    except PermissionError:
        raise MapError(
            f"{path} is not readable. Change its permissions, or those of its folder."
        ) from None
    except (OSError, ValueError):  # missing, too long, a null character
        return None


def open_regular(path: Path | str, folder: int | None = None) -> IO[bytes]:
    """A regular file, open for reading; raises MapError for anything else, links included."""
    status = os.stat(path, dir_fd=folder, follow_symlinks=False)
    _check_regular(path, status)  # since opening a device may do something
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(os.open(path, _READ, dir_fd=folder), "rb"))
        _check_regular(path, os.fstat(file.fileno()))
        stack.pop_all()
    return file


def write_durably(
    path: Path,
    write: Callable[[IO[bytes]], None],
    check: Callable[[FileStamp, bytes], None] = lambda stamp, beginning: None,
) -> FileStamp:
    """Let `write` write a new file, then give it its name; returns the stamp of the file.

    If a regular file already has the name, `check` gets its stamp and its first 64 bytes and may
    raise an error to keep it. Raises OSError if the file cannot be written, and MapError if the
    name belongs to anything but a regular file; an existing file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder)
        _check_replaced(path, folder, check)  # before the long part, and after
        _remove_leftovers(path.name, folder)
        temporary, file = _new_file(path.name, folder)
        stack.enter_context(file)
        try:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            stamp = _stamp(file)
            with _locked(folder):
                _check_replaced(path, folder, check)
                os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        try:
            os.fsync(folder)  # makes the new name survive a power cut
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
    return stamp


def _check_replaced(path: Path, folder: int, check: Callable[[FileStamp, bytes], None]) -> None:
    try:
        with open_regular(path.name, folder) as file:
            check(_stamp(file), file.read(64))
    except FileNotFoundError:
        pass


def _check_regular(path: Path | str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise MapError(f"{path} is not a regular file, so it is no map. Give another name.")


def _stamp(file: IO[bytes]) -> FileStamp:
    descriptor = file.fileno()
    size = os.fstat(descriptor).st_size
    first = zlib.crc32(os.pread(descriptor, END_BYTES, 0))
    last = os.pread(descriptor, END_BYTES, max(0, size - END_BYTES))
    return FileStamp(size, zlib.crc32(last, first))


def _new_file(name: str, folder: int) -> tuple[str, IO[bytes]]:
    """A new file beside another, locked for as long as it is open, and its name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        temporary = f".{name}.{secrets.token_hex(4)}.tmp"
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(temporary, flags, 0o666, dir_fd=folder)
            _lock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return temporary, open(descriptor, "wb")
            os.close(descriptor)  # taken for a leftover before it was locked


def _remove_leftovers(name: str, folder: int) -> None:
    """Remove what saves to this file left when they were killed: nobody has it locked."""
    for entry in os.listdir(folder):
        if not entry.startswith(f".{name}.") or not entry.endswith(".tmp"):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(entry, _READ, dir_fd=folder)
            try:
                if _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    os.unlink(entry, dir_fd=folder)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: int) -> Iterator[None]:
    """Nobody else gives a file in a folder its name meanwhile."""
    end = time.monotonic() + LOCK_S
    while _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) is False:
        if time.monotonic() > end:
            raise OSError(errno.EAGAIN, "another process is saving to this folder")
        time.sleep(0.01)
    try:
        yield
    finally:
        _lock(folder, fcntl.LOCK_UN)


def _lock(descriptor: int, operation: int) -> bool | None:
    """Lock as flock does; False: another process has it, None: the file system has no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return None
    return True
