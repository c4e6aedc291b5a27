# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Create nodes, spin them, stop them; errors that a user can fix take one line."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from vpr_ros.core.errors import VprError
from vpr_ros.nodes.diagnostics import describe
from vpr_ros.nodes.guarded_node import GuardedExecutor, GuardedNode
from vpr_ros.nodes.lifecycle import ManagedNode, release_memory
from vpr_ros.nodes.start import CONFIGURATION, STOP_SIGNALS, StopSignals, exit_after

LEAVING_S = 4.0  # at most, once all is saved; ros2 launch waits 5 s before it insists


class _Life:
    """One node and its executor, from its creation until it has finished."""

    def __init__(self, name: str, create: Callable[[], GuardedNode], managed: bool) -> None:
        self.node: GuardedNode | ManagedNode
        if managed:
            self.node = ManagedNode(name, create)
            self.executor = self.node.executor_of_both
        else:
            self.node = create()
            self.executor = GuardedExecutor(self.node.problems)
            self.executor.add_node(self.node)
        self.obeyed, self.finished = threading.Event(), threading.Event()

    def spin(self, stop: StopSignals, all_obey: Callable[[], bool]) -> None:
        """Handle events until told to stop, then finish the node."""
        with contextlib.suppress(ExternalShutdownException):
            while rclpy.ok() and not stop.received.is_set():
                self.executor.spin_once()
        self.obeyed.set()
        if all_obey():
            stop.obeyed.set()
        with self.node.problems.caught():
            self.node.finish()
        self.finished.set()


def run(
    creates: Mapping[str, Callable[[], GuardedNode]], stop: StopSignals, managed: bool = False
) -> None:
    """Run the nodes, by name, until told to stop, which may be during construction.

    Each has a thread and an executor of its own: none waits for another's callbacks, and none has
    to expect its own at the same time. Nodes that are `managed` are created and destroyed by
    lifecycle transitions. A node that cannot start is named; the others run. The exit status is
    0 after SIGINT, SIGTERM or SIGHUP; CONFIGURATION if a node cannot start with what it was given;
    1 if one cannot for another reason.
    """
    lives: list[_Life] = []
    codes: list[int] = []
    stop.wake = lambda: None
    with _said(codes, CONFIGURATION):
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        for name, create in creates.items():
            with _said(codes):
                lives.append(_Life(name, create, managed))
        if codes:
            release_memory()  # what there was of the nodes that cannot start

    def give_up() -> None:
        """Leave a node that is stuck behind, once the others have finished."""
        for life in lives:
            if life.obeyed.is_set():
                life.finished.wait()
        os._exit(0)

    stop.wake = lambda: [life.executor.create_task(lambda: None) for life in lives]
    stop.give_up = give_up
    arguments = stop, lambda: all(life.obeyed.is_set() for life in lives)
    threads = [
        threading.Thread(target=life.spin, args=arguments, daemon=True) for life in lives[1:]
    ]
    for thread in threads:
        thread.start()
    for life in lives[:1]:
        life.spin(*arguments)
    for thread in threads:
        thread.join()
    stop.obeyed.set()
    code = min(codes, default=0)
    _shut_down([life.node for life in lives], code)
    sys.exit(code)


@contextlib.contextmanager
def _said(codes: list[int], code: int = 0) -> Iterator[None]:
    """Print what keeps the block from ending, add its exit status, and go on behind it."""
    try:
        yield
    except Exception as error:
        codes.append(code or _status(error))
        print(f"vpr_ros: {_one_line(error)}", file=sys.stderr)


def _shut_down(nodes: Sequence[GuardedNode | ManagedNode], code: int) -> None:
    """Shut down; if the middleware hangs, end the process with exit status `code`."""
    exit_after(LEAVING_S, code)
    for number in STOP_SIGNALS:  # at its end, Python makes them deadly again
        signal.signal(number, signal.SIG_IGN)
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def _status(error: Exception) -> int:
    """CONFIGURATION if starting again would end in the same way, else 1."""
    given = isinstance(error, VprError) or type(error).__module__ == "rclpy.exceptions"
    return CONFIGURATION if given else 1


def _one_line(error: Exception) -> str:
    """What keeps the node from starting; rcl's own texts name places in its source code."""
    known = isinstance(error, VprError) or type(error).__module__.startswith("rclpy")
    text = str(error) if known else describe(error)
    return " ".join(re.sub(r", at \S+:\d+", "", text).split())
