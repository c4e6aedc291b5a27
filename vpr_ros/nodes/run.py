# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start a node, spin it, stop it; one line for what a user can mend."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from vpr_ros.core.errors import VprError

TEARDOWN_S = 8.0  # longer than the encoder takes to finish its frame


def run(create: Callable[[], Node]) -> None:
    """Run the node that `create` makes until it is told to stop, be it half made."""
    rclpy.init()
    node, code = None, 0
    try:
        node = create()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (VprError, ParameterException) as error:
        if rclpy.ok():
            code = 1
            sys.exit(f"vpr_ros: {error}")
    except RuntimeError:  # rclpy's own: Ctrl-C took away the context that was being used
        if rclpy.ok():
            code = 1
            raise
    finally:
        _leave(node, code)


def _leave(node: Node | None, code: int) -> None:
    """Tear down, but never wait for middleware that does not let go: the robot wants to stop.

    If it does not, the process ends with `code`, so that a node that failed is not taken for done.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would interrupt half-way
    limit = threading.Timer(TEARDOWN_S, os._exit, (code,))
    limit.daemon = True
    limit.start()
    if node is not None:
        node.destroy_node()
    rclpy.try_shutdown()
