# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a command leaves its results: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vpr_ros.core.errors import VprError

RESULTS = Path("results")


@contextlib.contextmanager
def run_folder(root: Path = RESULTS) -> Iterator[Path]:
    """A folder to write into that becomes `root`/<time>, and `root`/latest, if all goes well.

    After an error or Ctrl-C nothing of it remains. Yields a folder of another name: do not keep
    its path; `latest(root)` has the final one. Raises VprError if `root` cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=root))
    except OSError as error:
        raise VprError(
            f"Results cannot be written to {root} ({error}). Give another folder."
        ) from None
    try:
        yield unfinished
        unfinished.chmod(0o755)
        _point_latest_to(_rename(unfinished, root))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def latest(root: Path = RESULTS) -> Path:
    """The folder of the last run that finished."""
    return root / os.readlink(root / "latest")


def own_command() -> str:
    """What a reader of the results types to get them again."""
    program = Path(sys.argv[0]).name
    return shlex.join(["vpr" if program in ("cli.py", "__main__.py") else program, *sys.argv[1:]])


def _rename(unfinished: Path, root: Path) -> Path:
    """Give the run its final name; two runs in one second get a number each."""
    name = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(2, 100):
        final = root / name
        if not final.exists():
            unfinished.rename(final)
            return final
        name = f"{name.split('.')[0]}.{number}"
    raise VprError(f"{root} already holds {name}. Wait a second.")


def _point_latest_to(folder: Path) -> None:
    link, fresh = folder.parent / "latest", folder.parent / f".latest-{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(link)
