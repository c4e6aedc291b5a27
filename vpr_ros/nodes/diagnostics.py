# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""REP-107 diagnostics at 1 Hz, the figures in them, and errors that do not flood the log."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from vpr_ros.core.errors import VprError

if TYPE_CHECKING:
    from vpr_ros.nodes.guarded_node import GuardedNode

Report = tuple[bytes, str, dict[str, Any]]  # level, summary, values

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
THROTTLE_S = 5.0
PACKAGE = f"{Path(__file__).parents[1]}/"  # a clone of the repository may be called vpr_ros, too
CURRENT_S = 10.0  # a problem that has not come again for this long is over
FOREIGN_S = 60.0  # a stamp that differs more from now is another clock's, e.g. of a bag
LONGEST = 500  # characters of a text in the log and the status


class Diagnostics:
    """Publishes a status once a second."""

    def __init__(self, node: GuardedNode, report: Callable[[], Report]) -> None:
        """Start publishing what `report` returns, and the node's problems."""
        self._node = node
        self._report = report
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock, so that nodes also report in a paused or rewound simulation.
        node.create_timer(1.0, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _publish(self) -> None:
        problems = self._node.problems
        try:
            level, summary, values = self._report()
        except Exception as error:  # a report that fails is one, too
            problems.add(error)
            level, summary, values = ERROR, problems.last, {}
        values |= {
            "problems": problems.count,
            "unforeseen": problems.unforeseen,
            "last_problem": problems.last,
        }
        status = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: vpr",
            message=_text(summary),
            hardware_id="vpr_ros",
            values=[KeyValue(key=k, value=_text(v)) for k, v in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


class Problems:
    """Logs a problem at once but its repetitions only every few seconds; knows what is current."""

    def __init__(self, node: Node) -> None:
        """Log as `node`, which need not be complete yet."""
        self._node = node
        self._lock = threading.Lock()
        self._logged: dict[str, tuple[float, int]] = {}
        self._when = -math.inf  # the last problem [s]
        self.count = 0
        self.unforeseen = 0  # of these, those that are no VprError, hence bugs
        self.last = ""

    @property
    def current(self) -> str:
        """The last problem while it is fresh; a cause that is gone leaves only `last`."""
        return self.last if time.monotonic() - self._when < CURRENT_S else ""

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Add whatever the block raises, and go on behind the block."""
        try:
            yield
        except Exception as error:
            self.add(error)

    def add(self, error: Exception | str, kind: str | None = None) -> None:
        """Count and log; problems of one `kind` (default: the type of the error) are throttled."""
        kind = kind or type(error).__name__
        now = time.monotonic()
        with self._lock:
            self.count += 1
            self._when = now
            self.last = _text(describe(error) if isinstance(error, Exception) else error)
            self.unforeseen += isinstance(error, Exception) and not isinstance(error, VprError)
            when, silent = self._logged.get(kind, (-math.inf, 0))
            if now - when < THROTTLE_S:
                self._logged[kind] = (when, silent + 1)
                return
            self._logged[kind] = (now, 0)
            line = self.last + (f" ({silent} more since the last such message)" if silent else "")
        self._node.get_logger().error(line)


def describe(error: Exception) -> str:
    """The text of an error; of an unforeseen one also its type and place, for whoever fixes it."""
    if isinstance(error, VprError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f for f in frames if f.filename.startswith(PACKAGE) and "guarded_node" not in f.filename
    ]
    ours = ours or frames
    place = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {error}{place}{_way_out(error)}"


def _way_out(error: Exception) -> str:
    """What mends an error about the definition of a message."""
    of = getattr(error, "obj", None)  # what an AttributeError is about
    module = getattr(of, "__module__", "") or ""
    old = module.startswith("vpr_msgs.")
    return ". vpr_msgs is older than vpr_ros: build the workspace anew." if old else ""


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

    def add_since(self, stamp_ns: int, now_ns: int) -> None:
        """Add the time since a stamp; one of another clock makes the latency unknown."""
        if not now_ns:  # use_sim_time is set, and there is no /clock
            return
        if abs(now_ns - stamp_ns) > 1e9 * FOREIGN_S:
            self._values_ns.clear()
        else:
            self.add(now_ns - stamp_ns)

    def percentiles_ms(self) -> tuple[float, float]:
        """Median and 95th percentile [ms]; NaN where there is none."""
        values_ns = list(self._values_ns)  # another thread may add, or clear them
        if not values_ns:
            return float("nan"), float("nan")
        p50, p95 = np.percentile(values_ns, (50, 95)) / 1e6
        return float(p50), float(p95)


def memory_mb(process: int | str = "self") -> float:
    """Resident memory of a process, by default of this one [MB]; 0 if it is gone."""
    pages = 0
    with contextlib.suppress(OSError), open(f"/proc/{process}/statm") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def _text(value: Any) -> str:
    """One line of bounded length without control characters, whoever had a say in it."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return "".join(c if c.isprintable() else " " for c in text)
