# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Running figures for the diagnostics."""

from __future__ import annotations

import time
from collections import deque

import numpy as np


class Rate:
    """Events per second over the last seconds."""

    def __init__(self, window_s: float = 5.0) -> None:
        """Average over `window_s`."""
        self.total = 0
        self._window_s = window_s
        self._ticks: deque[float] = deque(maxlen=10_000)

    def tick(self) -> None:
        """One event."""
        self.total += 1
        self._ticks.append(time.monotonic())

    def per_second(self) -> float:
        """Current rate [Hz]."""
        since = time.monotonic() - self._window_s
        while self._ticks and self._ticks[0] < since:
            self._ticks.popleft()
        return len(self._ticks) / self._window_s


class Latency:
    """Percentiles of the last latencies."""

    def __init__(self, capacity: int = 200) -> None:
        """Over the last `capacity` values."""
        self._values_ns: deque[int] = deque(maxlen=capacity)

    def add(self, nanoseconds: int) -> None:
        """One more."""
        self._values_ns.append(nanoseconds)

    def percentiles_ms(self) -> tuple[float, float]:
        """Median and 95th percentile [ms]; NaN before the first."""
        if not self._values_ns:
            return float("nan"), float("nan")
        p50, p95 = np.percentile(list(self._values_ns), (50, 95)) / 1e6
        return float(p50), float(p95)
