# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`correct` in a process of its own: GTSAM holds Python's lock for as long as it works."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from vpr_ros.mapping.pose_graph import (
    Correction,
    GraphClosure,
    GraphConfig,
    GraphError,
    GraphKeyframe,
)

LONGEST_S = 120.0  # of a correction; a process that takes longer is stuck, and lost

Snapshot = tuple[list[GraphKeyframe], list[GraphClosure]]


class GraphSolver:
    """Has another process correct a graph; one that is lost is replaced."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Start the process, which then imports GTSAM; `say` is told of a loss."""
        self._say = say
        self.losses = 0
        self._start()

    def correct(self, snapshot: Snapshot, config: GraphConfig, before: Correction) -> Correction:
        """As `graph_correction.correct`, for one thread; raises GraphError if it fails twice."""
        for _ in range(2):
            with contextlib.suppress(EOFError, OSError):
                return self._ask(*snapshot, config, before)
            self.close()
            self.losses += 1
            self._say(
                "The process that solves the graph was lost (exit status "
                f"{self._process.returncode}); another one goes on with the same graph."
            )
            self._start()
        raise GraphError("The graph was not corrected: the process that solves it was lost twice.")

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        self._known: Snapshot = [], []  # what the process has
        self._last: Correction | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the node, which then ends this
        )
        theirs.close()

    def _ask(
        self,
        keyframes: list[GraphKeyframe],
        closures: list[GraphClosure],
        config: GraphConfig,
        before: Correction,
    ) -> Correction:
        # A graph grows, so mostly its end alone is new; lists compare quickly what is the same.
        old, old_closures = (len(part) for part in self._known)
        old *= keyframes[:old] == self._known[0]
        old_closures *= closures[:old_closures] == self._known[1]
        news = keyframes[old:], closures[old_closures:], config
        self._connection.send((old, old_closures, *news, None if before is self._last else before))
        self._known = keyframes, closures
        if not self._connection.poll(LONGEST_S):
            raise EOFError
        answer: Correction | str = self._connection.recv()
        if isinstance(answer, str):
            raise RuntimeError(f"the graph was not corrected: {answer}")
        self._last = answer
        return answer


def _serve(connection: Connection) -> None:
    """Answer until the other side is gone, be it by kill -9."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # sent to all of a service; the node is to save
    from vpr_ros.mapping.graph_correction import correct

    keyframes: list[GraphKeyframe] = []
    closures: list[GraphClosure] = []
    last = Correction.none()
    with contextlib.suppress(EOFError, OSError):
        while True:
            old, old_closures, new, new_closures, config, before = connection.recv()
            keyframes[old:], closures[old_closures:] = new, new_closures
            answer: Correction | str
            try:
                answer = last = correct(keyframes, closures, config, before or last)
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            connection.send(answer)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
