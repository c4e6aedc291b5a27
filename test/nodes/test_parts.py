# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The small parts of the nodes, without DDS."""

import math
import threading
import time

import pytest

from vpr_ros.nodes.diagnostics import Latency, Rate
from vpr_ros.nodes.image_input import LatestImage


def test_the_latest_image_wins_and_drops_are_counted():
    slot = LatestImage()
    for number in range(5):
        slot.put(number)
    assert slot.take() == 4 and slot.dropped == 4


def test_taking_waits_for_an_image_and_ends_when_closed():
    slot = LatestImage()
    taken = []
    worker = threading.Thread(target=lambda: taken.extend([slot.take(), slot.take()]))
    worker.start()
    slot.put("frame")
    while not taken and slot.dropped == 0 and worker.is_alive() and slot._image is not None:
        time.sleep(0.001)
    slot.close()
    worker.join(5)
    assert not worker.is_alive() and taken == ["frame", None]


def test_latency_percentiles():
    latency = Latency()
    assert all(map(math.isnan, latency.percentiles_ms()))
    for ms in range(1, 101):
        latency.add(ms * 1_000_000)
    assert latency.percentiles_ms() == pytest.approx((50.5, 95.05))


def test_rate_counts_the_last_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rate = Rate(window_s=5.0)
    for _ in range(10):
        rate.tick()
        now[0] += 0.5
    assert rate.per_second() == pytest.approx(2.0) and rate.total == 10
    now[0] += 60
    assert rate.per_second() == 0.0
