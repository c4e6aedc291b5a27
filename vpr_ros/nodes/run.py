# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start a node, spin it, stop it; one line for what a user can mend."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from vpr_ros.core.errors import VprError


def run(create: Callable[[], Node]) -> None:
    """Run the node that `create` makes until it is told to stop."""
    rclpy.init()
    try:
        node = create()
    except (VprError, ParameterException) as error:
        rclpy.try_shutdown()
        sys.exit(f"vpr_ros: {error}")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
