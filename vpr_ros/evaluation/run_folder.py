# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a command leaves its results: whole, or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vpr_ros.core.errors import VprError

RESULTS = Path("results")


@contextlib.contextmanager
def run_folder(root: Path = RESULTS) -> Iterator[Path]:
    """A folder to write into that becomes `root`/<time> and `root`/latest if no error occurs.

    After an error, Ctrl-C, SIGTERM or SIGHUP nothing of it remains. The folder has another name
    while it is written: do not keep its path; `latest(root)` gives the final one. Raises VprError
    if `root` cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=root))
    except OSError as error:
        raise VprError(
            f"Results cannot be written to {root} ({error}). Give another folder."
        ) from None
    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in signals]
    try:
        yield unfinished
        with contextlib.suppress(OSError):  # USB sticks and some shared folders refuse it
            unfinished.chmod(0o755)
        final, number = root / time.strftime("%Y-%m-%d_%H-%M-%S"), 1
        while final.exists():  # two runs in one second get a number each
            number += 1
            final = final.with_suffix(f".{number}")
        unfinished.rename(final)
        fresh = root / f".latest-{os.getpid()}"
        fresh.unlink(missing_ok=True)
        try:
            fresh.symlink_to(final.name)
            fresh.replace(root / "latest")
        except OSError:  # a disk without links, or a copy in which the link became a folder
            for old in (fresh, root / "latest"):  # else it would name an earlier run
                with contextlib.suppress(OSError):
                    old.unlink()
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def latest(root: Path = RESULTS) -> Path:
    """The folder of the last run that finished."""
    if (root / "latest").is_symlink():
        return root / os.readlink(root / "latest")
    return max(root.glob("[0-9]*_*"), key=lambda folder: folder.stat().st_mtime_ns)


def own_command() -> str:
    """The command line of this run, for those who want to repeat it."""
    program = Path(sys.argv[0]).name
    return shlex.join(["vpr" if program in ("cli.py", "__main__.py") else program, *sys.argv[1:]])


def write_json(path: Path, values: Any) -> None:
    """Write `values` as JSON, with null for NaN."""
    path.write_text(json.dumps(without_nan(values), indent=2) + "\n")


def without_nan(value: Any) -> Any:
    """The same with None for NaN, which JSON does not know; also inside lists and mappings."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
