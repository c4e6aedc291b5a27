# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start a node, spin it, stop it; errors that a user can fix take one line."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from vpr_ros.core.errors import VprError
from vpr_ros.nodes.diagnostics import describe
from vpr_ros.nodes.guarded_node import GuardedExecutor, GuardedNode

STUCK_S = 8.0  # a callback, or the middleware, that takes longer to end is left behind


def run(create: Callable[[], GuardedNode]) -> None:
    """Run the node that `create` returns until told to stop, which may be during construction.

    The exit status is 0 after SIGINT, SIGTERM or SIGHUP, and 1 if the node cannot start.
    """
    stop = _StopSignals()
    node, code = None, 0
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = create()
        executor = GuardedExecutor(node.problems)
        executor.add_node(node)
        stop.executor = executor
        while rclpy.ok() and not stop.received.is_set():
            executor.spin_once()
    except ExternalShutdownException:
        pass
    except Exception as error:
        code = 1
        print(f"vpr_ros: {_one_line(error)}", file=sys.stderr)
    stop.obeyed.set()
    if node is not None:
        with node.problems.caught():
            node.finish()
    _shut_down(node, code)
    sys.exit(code)


class _StopSignals:
    """SIGINT, SIGTERM and SIGHUP, taken by a thread of their own: they interrupt no code."""

    def __init__(self) -> None:
        self.received, self.obeyed = threading.Event(), threading.Event()
        self.executor: Executor | None = None
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # e.g. SIGHUP under nohup
                signal.signal(number, lambda *_: None)
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def _wait(self) -> None:
        os.read(self._read, 1)
        self.received.set()
        if self.executor is not None:
            self.executor.create_task(lambda: None)  # it is waiting for something to do
        if not self.obeyed.wait(STUCK_S):
            os._exit(0)


def _shut_down(node: GuardedNode | None, code: int) -> None:
    """Shut down; if the middleware hangs, end the process with exit status `code`."""
    limit = threading.Timer(STUCK_S, os._exit, (code,))
    limit.daemon = True
    limit.start()
    if node is not None:
        node.destroy_node()
    rclpy.try_shutdown()


def _one_line(error: Exception) -> str:
    """What keeps the node from starting; rcl's own texts name places in its source code."""
    known = isinstance(error, VprError) or type(error).__module__.startswith("rclpy")
    text = str(error) if known else describe(error)
    return " ".join(re.sub(r", at \S+:\d+", "", text).split())
