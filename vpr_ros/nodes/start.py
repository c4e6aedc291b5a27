# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes' entry points: take the signals first, then import what takes a second."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable

STOP_SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
MANAGED = "--lifecycle"  # option: the node has lifecycle states and begins unconfigured
CONFIGURATION = 2  # exit status: what the node was given keeps it from starting, and will again
STUCK_S = 8.0  # what takes longer to end than this is left behind


def encoder() -> None:
    """Run the node `encoder`."""
    _start("encoder_node", "EncoderNode")


def database() -> None:
    """Run the node `database`."""
    _start("database_node", "DatabaseNode")


def graph() -> None:
    """Run the node `graph`."""
    _start("graph_node", "GraphNode")


def relocalizer() -> None:
    """Run the node `relocalizer`."""
    _start("relocalizer_node", "RelocalizerNode")


def bridge() -> None:
    """Run the node `bridge`."""
    _start("bridge_node", "BridgeNode")


def _start(module: str, node: str) -> None:
    stop = StopSignals()
    try:
        run = importlib.import_module("vpr_ros.nodes.run").run
        create = getattr(importlib.import_module(f"vpr_ros.nodes.{module}"), node)
    except ImportError as error:
        print(
            f"vpr_ros: {error}. Is ROS 2 sourced (e.g. /opt/ros/jazzy/setup.bash), is the "
            "workspace with vpr_msgs, and is this the Python that has the requirements?",
            file=sys.stderr,
        )
        sys.exit(CONFIGURATION)
    managed = MANAGED in sys.argv
    run(create, stop, module.removesuffix("_node") if managed else "")


class StopSignals:
    """Takes STOP_SIGNALS in a thread of its own, so that they interrupt no code."""

    def __init__(self) -> None:
        """Take the signals from now on; until `wake` is set, nothing is lost by ending at once."""
        self.received, self.obeyed = threading.Event(), threading.Event()
        self.wake: Callable[[], object] = lambda: os._exit(0)
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # nohup means it. A shell's background jobs ignore SIGINT, which launch stops with.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def _wait(self) -> None:
        os.read(self._read, 1)
        self.received.set()
        self.wake()
        if not self.obeyed.wait(STUCK_S):
            os._exit(0)
