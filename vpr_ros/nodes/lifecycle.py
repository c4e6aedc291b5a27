# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node as a managed one: it exists, with its model and its memory, only while it is active."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from vpr_ros.nodes.diagnostics import Problems
from vpr_ros.nodes.guarded_node import GuardedExecutor, GuardedNode


class ManagedNode(LifecycleNode):
    """The lifecycle services of a node of this package, under the same name.

    Configuring does nothing yet, activating creates the node, deactivating finishes and destroys
    it. A node that cannot be created leaves the state inactive and says why.
    """

    def __init__(self, name: str, create: Callable[[], GuardedNode]) -> None:
        """`create` returns the node."""
        self._create = create
        self._node: GuardedNode | None = None
        super().__init__(name, start_parameter_services=False, enable_rosout=False)
        self.problems = Problems(self)
        self.executor_of_both = GuardedExecutor(self.problems)
        self.executor_of_both.add_node(self)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Create the node: it loads its model or map and begins to work."""
        try:
            self._node = self._create()
        except Exception as error:
            self.problems.add(error)
            self.executor_of_both.create_task(release_memory)  # what there was of the node
            return TransitionCallbackReturn.FAILURE
        self.executor_of_both.add_node(self._node)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Save what the node promises to save, and release it."""
        self.finish()
        return super().on_deactivate(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As `on_deactivate`, from any state."""
        self.finish()
        return super().on_shutdown(state)

    def finish(self) -> None:
        """End the node, if there is one."""
        node, self._node = self._node, None
        if node is None:
            return
        self.executor_of_both.remove_node(node)
        with self.problems.caught():
            node.finish()
        node.destroy_node()
        # In the next round, when the executor has let go of the node.
        self.executor_of_both.create_task(release_memory)


def release_memory() -> None:
    """Free what nobody refers to, also nodes, which others see until then."""
    gc.collect()  # nodes and their callbacks refer to each other
    with contextlib.suppress(AttributeError):  # glibc keeps what is freed until it is told
        ctypes.CDLL(None).malloc_trim(0)
