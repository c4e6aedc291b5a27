# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node that outlives its callbacks: what one of them raises is counted, said, and answered."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor, await_or_execute
from rclpy.node import Node

from vpr_ros.nodes.diagnostics import Problems, describe


class GuardedNode(Node):
    """Base of both nodes; an exception ends neither the node nor the wait of who called a service.

    rclpy creates its own services and subscriptions (parameters, /clock) through the same methods,
    so its faults, such as the one on a ParameterValue of unknown type, are caught as well.
    """

    def __init__(self, name: str) -> None:
        """`problems` exists before anything can fail."""
        self.problems = Problems(self)
        super().__init__(name)

    def finish(self) -> None:
        """Complete and save before the node goes; takes its time, topics and log still work."""

    def create_subscription(
        self, kind: Any, topic: str, callback: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        """As rclpy's; what the callback raises goes to `problems`."""
        return super().create_subscription(kind, topic, self._guarded(callback), *args, **options)

    def create_timer(
        self, period_s: float, callback: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        """As rclpy's; what the callback raises goes to `problems`."""
        return super().create_timer(period_s, self._guarded(callback), *args, **options)

    def create_service(
        self, kind: Any, name: str, callback: Callable[..., Any], **options: Any
    ) -> Any:
        """As rclpy's; what the callback raises goes to `problems` and into the answer."""

        async def answer(request: Any, response: Any) -> Any:
            try:
                return await await_or_execute(callback, request, response)
            except Exception as error:
                self.problems.add(error)
                return _refusal(kind, describe(error))

        async def answer_each(request: Any, response: Any) -> Any:
            # One by one: those before the parameter that fails are set and must be said to be.
            for parameter in request.parameters:
                one = await answer(kind.Request(parameters=[parameter]), kind.Response())
                response.results = [*response.results, *one.results]
            return response

        guarded = answer_each if kind is SetParameters else answer
        return super().create_service(kind, name, guarded, **options)

    def _guarded(self, callback: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(callback)  # rclpy reads the signature
        async def call(*args: Any) -> None:
            with self.problems.caught():
                await await_or_execute(callback, *args)

        return call


class Backlog:
    """Messages of one topic that wait for their turn.

    All that have arrived are taken before the next one is handled. Else those that do not fit
    would be lost in the middleware, which says nothing.
    """

    def __init__(
        self,
        node: GuardedNode,
        most: int,
        handle: Callable[[Any], None],
        refuse: Callable[[Any], None],
    ) -> None:
        """`refuse` is given the oldest where more than `most` would wait."""
        self.waiting: deque[Any] = deque()
        self._most, self._handle, self._refuse = most, handle, refuse
        self._problems = node.problems
        self._turn = node.create_guard_condition(node._guarded(self._next))
        self._arrived = self._passed = 0  # since the last turn, and turns passed up for them

    def put(self, message: Any) -> None:
        """Let a message wait: the callback of the subscription."""
        self.waiting.append(message)
        self._arrived += 1
        self._turn.trigger()
        if len(self.waiting) > self._most:
            self._refuse(self.waiting.popleft())

    def finish(self) -> None:
        """Handle what waits; one that fails does not cost the rest their turn."""
        while self.waiting:
            with self._problems.caught():
                self._handle(self.waiting.popleft())

    def _next(self) -> None:
        self._arrived, more = 0, self._arrived and self._passed < self._most
        self._passed = self._passed + 1 if more else 0
        try:
            if self.waiting and not more:
                self._handle(self.waiting.popleft())
        finally:
            if self.waiting:
                self._turn.trigger()


class GuardedExecutor(SingleThreadedExecutor):
    """Executor that also survives what rclpy raises outside of callbacks, e.g. on taking data."""

    def __init__(self, problems: Problems) -> None:
        super().__init__()
        self._problems = problems

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Handle one event, whatever comes of it."""
        try:
            super().spin_once(timeout_sec)
        except ExternalShutdownException:
            raise
        except Exception as error:
            self._problems.add(error)
            time.sleep(0.01)  # should it come again at once

    def _make_handler(self, entity: Any, node: Node, take: Callable[[Any], Any]) -> Any:
        # If `take` raised, rclpy would hold the entity and its whole callback group to be at work
        # for ever; None tells it that there was nothing to do.
        def guarded(entity: Any) -> Any:
            with self._problems.caught():
                return take(entity)

        return super()._make_handler(entity, node, guarded)


def _refusal(kind: Any, reason: str) -> Any:
    """The answer of a service of this kind that failed; success is false by default."""
    if kind is SetParameters:
        return kind.Response(results=[SetParametersResult(reason=reason)])
    if kind is SetParametersAtomically:
        return kind.Response(result=SetParametersResult(reason=reason))
    response = kind.Response()
    if "message" in response.get_fields_and_field_types():
        response.message = reason
    return response
