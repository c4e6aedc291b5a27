# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""REP-107 diagnostics at 1 Hz, the figures in them, and errors that do not flood the log."""

from __future__ import annotations

import os
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from vpr_ros.core.errors import VprError

Report = tuple[bytes, str, dict[str, Any]]  # level, summary, values

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
THROTTLE_S = 5.0


class Diagnostics:
    """Publishes a status once a second."""

    def __init__(self, node: Node, report: Callable[[], Report]) -> None:
        """Start publishing what `report` returns."""
        self._node = node
        self._report = report
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock, so that nodes also report in a paused or rewound simulation.
        node.create_timer(1.0, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _publish(self) -> None:
        level, summary, values = self._report()
        status = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: vpr",
            message=summary,
            hardware_id="vpr_ros",
            values=[KeyValue(key=k, value=_text(v)) for k, v in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


class Problems:
    """Logs a problem at once but its repetitions only every few seconds; keeps the last one."""

    def __init__(self, node: Node) -> None:
        """Log as `node`."""
        self._logger = node.get_logger()
        self._clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._logged: dict[str, tuple[float, int]] = {}
        self.count = 0
        self.last = ""

    def add(self, error: Exception | str, kind: str | None = None) -> None:
        """Count and log; problems of one `kind` (default: the type of the error) are throttled."""
        self.count += 1
        self.last = str(error) or type(error).__name__
        kind = kind or type(error).__name__
        now = self._clock.now().nanoseconds * 1e-9
        when, silent = self._logged.get(kind, (-THROTTLE_S, 0))
        if now - when < THROTTLE_S:
            self._logged[kind] = (when, silent + 1)
            return
        if isinstance(error, Exception) and not isinstance(error, VprError):
            # Not one of ours, hence a bug: whoever fixes it needs the traceback.
            self._logger.error("".join(traceback.format_exception(error)))
        again = f" ({silent} more since the last such message)" if silent else ""
        self._logger.error(self.last + again)
        self._logged[kind] = (now, 0)


class Rate:
    """Events per second over the last few seconds."""

    def __init__(self, window_s: float = 5.0) -> None:
        """Average over `window_s`."""
        self.total = 0
        self._window_s = window_s
        self._ticks: deque[float] = deque(maxlen=10_000)

    def tick(self) -> None:
        """Count one event."""
        self.total += 1
        self._ticks.append(time.monotonic())

    def per_second(self) -> float:
        """Current rate [Hz]."""
        since = time.monotonic() - self._window_s
        while self._ticks and self._ticks[0] < since:
            self._ticks.popleft()
        return len(self._ticks) / self._window_s


class Latency:
    """Percentiles of recent latencies."""

    def __init__(self, capacity: int = 200) -> None:
        """Keep the last `capacity` values."""
        self._values_ns: deque[int] = deque(maxlen=capacity)

    def add(self, nanoseconds: int) -> None:
        """Add one latency."""
        self._values_ns.append(nanoseconds)

    def percentiles_ms(self) -> tuple[float, float]:
        """Median and 95th percentile [ms]; NaN before the first latency."""
        if not self._values_ns:
            return float("nan"), float("nan")
        p50, p95 = np.percentile(list(self._values_ns), (50, 95)) / 1e6
        return float(p50), float(p95)


def memory_mb() -> float:
    """Resident memory of this process [MB]."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
