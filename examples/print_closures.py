# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Print each loop closure on one line, until Ctrl-C.

python examples/print_closures.py
"""

from __future__ import annotations

import contextlib
import signal

import rclpy
from rclpy.signals import SignalHandlerOptions

from vpr_msgs.msg import LoopClosure


def show(closure: LoopClosure) -> None:
    """Print what a SLAM system needs: the stamps of the two images, and the confidence."""
    now, then = (s.sec + s.nanosec * 1e-9 for s in (closure.header.stamp, closure.match_stamp))
    print(f"{now:.2f} s shows the place of {then:.2f} s, p = {closure.confidence:.3f}", flush=True)


def main() -> None:
    """Subscribe to the closures and print them as they arrive."""
    # rclpy's own handlers end its context at once, even while the node is being created, which
    # then fails; and rclpy.spin() may wait for ever if they wake it before the context has ended.
    # A program started in the background ignores SIGINT unless it asks for it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("print_closures")
        node.create_subscription(LoopClosure, "/vpr/loop_closures", show, 10)
        while True:
            rclpy.spin_once(node, timeout_sec=0.1)


if __name__ == "__main__":
    main()
