# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Create a node, spin it, stop it; errors that a user can fix take one line."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from vpr_ros.core.errors import VprError
from vpr_ros.nodes.diagnostics import describe
from vpr_ros.nodes.guarded_node import GuardedExecutor, GuardedNode
from vpr_ros.nodes.lifecycle import ManagedNode
from vpr_ros.nodes.start import CONFIGURATION, STOP_SIGNALS, STUCK_S, StopSignals


def run(create: Callable[[], GuardedNode], stop: StopSignals, managed_as: str = "") -> None:
    """Run the node that `create` returns until told to stop, which may be during construction.

    With `managed_as`, its name, it is created and destroyed by lifecycle transitions. The exit
    status is 0 after SIGINT, SIGTERM or SIGHUP; CONFIGURATION if the node cannot start with what
    it was given; 1 if it cannot for another reason.
    """
    node: GuardedNode | ManagedNode | None = None
    code = CONFIGURATION  # until init() has taken the arguments
    try:
        stop.wake = lambda: None
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        code = 0
        if managed_as:
            node = ManagedNode(managed_as, create)
            executor = node.executor_of_both
        else:
            node = create()
            executor = GuardedExecutor(node.problems)
            executor.add_node(node)
        stop.wake = lambda: executor.create_task(lambda: None)  # it waits for something to do
        while rclpy.ok() and not stop.received.is_set():
            executor.spin_once()
    except ExternalShutdownException:
        pass
    except Exception as error:
        code = code or _status(error)
        print(f"vpr_ros: {_one_line(error)}", file=sys.stderr)
    stop.obeyed.set()
    if node is not None:
        with node.problems.caught():
            node.finish()
    _shut_down(node, code)
    sys.exit(code)


def _shut_down(node: GuardedNode | ManagedNode | None, code: int) -> None:
    """Shut down; if the middleware hangs, end the process with exit status `code`."""
    limit = threading.Timer(STUCK_S, os._exit, (code,))
    limit.daemon = True
    limit.start()
    for number in STOP_SIGNALS:  # at its end, Python makes them deadly again
        signal.signal(number, signal.SIG_IGN)
    if node is not None:
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
