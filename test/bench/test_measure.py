# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is compared runs alternately, and the median counts."""

import time

import pytest

from bench.measure import measure, resident_mb
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model


def test_candidates_alternate_and_the_first_round_only_warms_up():
    ran = []
    found = measure({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, rounds=3)
    assert "".join(ran) == "baabbaab"
    assert {name: len(cost.times_ms) for name, cost in found.items()} == {"a": 3, "b": 3}


def test_waiting_takes_time_but_no_cpu_time():
    cost = measure({"sleep": lambda: time.sleep(0.02)}, rounds=3)["sleep"]
    assert cost.time_ms >= 20 and cost.cpu_ms < 10


@pytest.mark.slow
def test_a_loaded_model_takes_memory():
    assert 4 < resident_mb(find_model(DEFAULT_MODEL)) < 300
