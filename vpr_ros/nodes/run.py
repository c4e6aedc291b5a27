# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start a node, spin it, stop it; errors that a user can fix take one line."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

import rclpy
from rclpy.exceptions import NotInitializedException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from vpr_ros.core.errors import VprError

SHUTDOWN_S = 8.0  # longer than the encoder node waits for its last frame


def run(create: Callable[[], Node]) -> None:
    """Run the node that `create` returns until told to stop, which may be during construction."""
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
    except (RuntimeError, NotInitializedException):
        if rclpy.ok():  # if not, Ctrl-C has shut down the context that rclpy was using
            code = 1
            raise
    finally:
        _shut_down(node, code)


def _shut_down(node: Node | None, code: int) -> None:
    """Shut down; if the middleware hangs, end the process with exit status `code`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would interrupt this
    limit = threading.Timer(SHUTDOWN_S, os._exit, (code,))
    limit.daemon = True
    limit.start()
    if node is not None:
        node.destroy_node()
    rclpy.try_shutdown()
