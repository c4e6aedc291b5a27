# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes' entry points: take the signals first, then import what takes a second."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

STOP_SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
NODES = {
    "encoder": "EncoderNode",
    "database": "DatabaseNode",
    "graph": "GraphNode",
    "relocalizer": "RelocalizerNode",
    "bridge": "BridgeNode",
    "fleet": "FleetNode",
}
MANAGED = "--lifecycle"  # option: the node has lifecycle states and begins unconfigured
CONFIGURATION = 2  # exit status: what the node was given keeps it from starting, and will again
STUCK_S = 8.0  # what takes longer to end than this is left behind


def encoder() -> None:
    """Run the node `encoder`."""
    _start("encoder")


def database() -> None:
    """Run the node `database`."""
    _start("database")


def graph() -> None:
    """Run the node `graph`."""
    _start("graph")


def relocalizer() -> None:
    """Run the node `relocalizer`."""
    _start("relocalizer")


def bridge() -> None:
    """Run the node `bridge`."""
    _start("bridge")


def fleet() -> None:
    """Run the node `fleet`, which gives way to those that close loops at home."""
    os.nice(10)
    if os.getsid(0) == os.getpid():  # alone: Linux then counts the niceness of the session
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text("10")
    _start("fleet")


def nodes() -> None:
    """Run the nodes that the command line names in one process: `nodes encoder database`."""
    given = list(itertools.takewhile(lambda word: word != "--ros-args", sys.argv[1:]))
    names = [word for word in given if not word.startswith("-")]
    if not names or not set(names) <= set(NODES):
        text = f"vpr_ros: 'nodes {' '.join(names)}': name some of {', '.join(NODES)}."
        print(text, file=sys.stderr)
        sys.exit(CONFIGURATION)
    _start(*dict.fromkeys(names))


def _start(*names: str) -> None:
    stop, creates = StopSignals(), {}
    for name in names:
        try:
            run = importlib.import_module("vpr_ros.nodes.run").run
            module = importlib.import_module(f"vpr_ros.nodes.{name}_node")
            creates[name] = getattr(module, NODES[name])
        except (ImportError, AttributeError) as error:
            print(
                f"vpr_ros: node {name} does not run: {error}. Is ROS 2 sourced (e.g. "
                "/opt/ros/jazzy/setup.bash), is the workspace with vpr_msgs, built after the last "
                "update, and is this the Python that has the requirements?",
                file=sys.stderr,
            )
    if not creates:
        sys.exit(CONFIGURATION)
    run(creates, stop, MANAGED in sys.argv)


class StopSignals:
    """Takes STOP_SIGNALS in a thread of its own, so that they interrupt no code."""

    def __init__(self) -> None:
        """Take the signals from now on; until `wake` is set, nothing is lost by ending at once."""
        self.received, self.obeyed = threading.Event(), threading.Event()
        self.wake: Callable[[], object] = lambda: os._exit(0)
        self.give_up: Callable[[], object] = lambda: os._exit(0)
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
            self.give_up()


class _TimerEvent(ctypes.Structure):
    """struct sigevent of POSIX: in a new thread, call a function with an int."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("rest", ctypes.c_char * 64),
    )


def exit_after(delay_s: float, code: int) -> None:
    """End the process after `delay_s` with exit status `code`, whatever its threads do.

    Fast DDS 2.14 may wait for ever when a participant is destroyed while another one leaves
    (DomainParticipant::set_listener), and rclpy holds Python's lock meanwhile, so that no thread
    of Python could end the process. A timer of the C library can.
    """
    library, timer = ctypes.CDLL(None), ctypes.c_void_p()
    try:
        function = ctypes.cast(library._exit, ctypes.c_void_p).value
        event = _TimerEvent(value=code, notify=2, function=function)  # SIGEV_THREAD
        failed = library.timer_create(
            time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)
        )
    except AttributeError:  # not Linux
        failed = -1
    seconds = int(delay_s)
    when = (ctypes.c_long * 4)(0, 0, seconds, int((delay_s - seconds) * 1e9))  # no repetition
    if failed or library.timer_settime(timer, 0, ctypes.byref(when), None):
        limit = threading.Timer(delay_s, os._exit, (code,))
        limit.daemon = True
        limit.start()
