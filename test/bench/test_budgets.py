# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The governor's levels follow from what was measured."""

import cv2
import pytest

from bench.budgets import Budget, draw, level, own_levels

DIAL = [
    Budget(0.0, 1.0, 80.0, 80.0),
    Budget(0.2, 0.9, 79.5, 70.0),
    Budget(0.4, 0.7, 78.9, 90.0),
    Budget(0.5, 0.75, 79.9, 90.0),  # slower than 0.4, but finds more
    Budget(0.6, 0.6, 77.0, 60.0),
]


@pytest.mark.parametrize(
    ("allowed", "sparsity"), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.5), (1.2, 0.4), (3.0, 0.6)]
)
def test_level_is_the_fastest_that_loses_no_more_than_allowed(allowed, sparsity):
    assert level(DIAL, allowed).sparsity == sparsity


def test_the_level_of_a_low_battery_is_no_lower_than_that_of_a_medium_one():
    assert own_levels(DIAL) == (0.5, 0.6)
    falling = [
        Budget(0.0, 1.0, 80.0, 80.0),
        Budget(0.2, 0.8, 77.5, 0.0),
        Budget(0.4, 0.9, 79.9, 0),
    ]
    assert own_levels(falling) == (0.4, 0.4)


def test_figure_is_drawn(tmp_path):
    draw({"one": DIAL, "two": DIAL[:2]}, tmp_path / "dial.png")
    assert cv2.imread(str(tmp_path / "dial.png")).std() > 5
