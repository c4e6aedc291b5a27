# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive the demo, each with a log of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vpr_ros.core.errors import VprError

PATIENCE_S = 15.0  # between asking a process to end and ending it; a node saves its map meanwhile
TAIL_LINES = 12
RUN = "os.execvp(sys.argv[1], sys.argv[1:])"


class ProcessError(VprError):
    """A process of the demo did not start, or ended too early."""


class Processes:
    """Starts processes, and stops them all at the end of a `with` block."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        """`logs` is a folder that exists."""
        self._logs = logs
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        # An impatient second Ctrl-C must not leave processes behind.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.stop(*self._running)
        signal.signal(signal.SIGINT, before)

    def start(self, name: str, command: Sequence[str | Path]) -> None:
        """Run a command; what it prints goes to `<name>.log`."""
        with self.log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-c", f"{end_with_parent()}; {RUN}", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which stops the rest
            )

    def ended(self, name: str) -> bool:
        """Whether this process has finished; ProcessError if it failed."""
        status = self._running[name].poll()
        if status not in (None, 0):
            shown = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            raise ProcessError(f"Process '{name}' ended with {shown}. {self.tail(name)}")
        return status is not None

    def stop(self, *names: str) -> None:
        """Ask these to end, as Ctrl-C would; after PATIENCE_S they are killed."""
        chosen = [self._running[name] for name in names]
        for process in chosen:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + PATIENCE_S
        for process in chosen:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in names:
            del self._running[name]

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def log(self, name: str) -> Path:
        """The file with a process's output."""
        return self._logs / f"{name}.log"

    def lines(self, name: str) -> list[str]:
        """What a process has printed so far."""
        return self.log(name).read_text(errors="replace").splitlines()

    def tail(self, name: str) -> str:
        """The end of a log, for an error message."""
        lines = self.lines(name)[-TAIL_LINES:]
        return "\n".join([f"The end of its log {self.log(name)}:", *(f"  {x}" for x in lines)])


def end_with_parent(number: int = signal.SIGTERM) -> str:
    """Python code, importing os and sys, that has the kernel end its process with this one.

    Whatever the process executes later gets the signal, too. The kernel sends it when the thread
    ends that started the process, so that must be one that lasts.

    A preexec_fn runs between fork and exec, where a child of a process with threads of gRPC
    (pymilvus) may crash.
    """
    ends = f"import ctypes, os, sys; ctypes.CDLL(None).prctl(1, {int(number)})"  # PR_SET_PDEATHSIG
    return f"{ends}; os.getppid() == {os.getpid()} or sys.exit()"
