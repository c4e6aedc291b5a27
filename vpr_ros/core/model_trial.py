# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Load a model in a separate process first: a file can ask for all memory, or never finish.

The robot's node loads any file that somebody on the network names. onnxruntime computes the
constants of a graph while loading it, without any limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from vpr_ros.core.errors import ModelError, VprError

MAX_BYTES = 2**30  # of a model file
MEMORY_BYTES = 4 * 2**30  # and four times the file
SECONDS = 60.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_REFUSED = 3  # exit status: the message is on stdout


def try_model(path: Path, threads: int, seconds: float = SECONDS) -> None:
    """Raise ModelError unless a model loads and runs once within limits."""
    size = os.path.getsize(path)
    if size > MAX_BYTES:
        raise ModelError(f"Model file {path} has {size / 2**30:.1f} GiB; at most 1 is loaded.")
    memory = MEMORY_BYTES + 4 * size
    numbers = (threads, memory, os.getpid())
    command = [sys.executable, "-m", __name__, str(path), *map(str, numbers)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        trial = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            start_new_session=True,  # Ctrl-C is for the node, which then ends this
        )
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"Model file {path} did not load within {seconds:g} s, so it is not used."
        ) from None
    if trial.returncode == _REFUSED:
        raise ModelError(trial.stdout.decode(errors="replace").strip())
    if trial.returncode:
        raise ModelError(
            f"Loading model file {path} failed in a trial (exit status {trial.returncode}); it "
            f"crashes, or takes more than {memory / 2**30:.1f} GiB. It is not used."
        )


def _trial(path: str, threads: int, memory: int, parent: int) -> int:
    with contextlib.suppress(AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # which was to end what never ends
        return 1
    from vpr_ros.core.encoder import Encoder

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Encoder(path, threads)
    except VprError as error:
        print(error)
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_trial(sys.argv[1], *map(int, sys.argv[2:])))
