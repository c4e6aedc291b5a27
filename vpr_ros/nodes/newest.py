# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The newest frame wins: a slot of one instead of a queue, so that no backlog can form."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """One producer puts, one consumer takes; what was not taken in time is dropped."""

    def __init__(self) -> None:
        """Empty and open."""
        self.dropped = 0
        self._item: T | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Leave an item, in place of one that still waits."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify()

    def take(self) -> T | None:
        """Wait for an item; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Let the consumer go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
