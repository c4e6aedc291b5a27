# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How sure a measured precision is, on cases worked out by hand."""

import math

import numpy as np
import pytest

from vpr_ros.evaluation.confidence import Closures, bootstrap, lower_bound, needed


def closures(right, apart=10):
    """Closures of one drive, each `apart` keyframes from the next."""
    count = len(right)
    keyframe = np.stack([np.zeros(count, np.int64), np.arange(count) * apart], axis=1)
    return Closures(np.ones(count), np.array(right, bool), keyframe)


def test_how_many_loops_promise_a_precision():
    assert needed(0.99) == 299  # 0.99 ** 299 < 0.05 <= 0.99 ** 298
    assert needed(0.9) == 29
    assert needed(1.0) == 0
    assert lower_bound(299, 299) >= 0.99 > lower_bound(298, 298)
    assert lower_bound(10, 10) == pytest.approx(0.05 ** (1 / 10))  # by hand: p ** 10 = 0.05
    assert lower_bound(0, 5) == 0.0
    # one of two: 1 - (1 - p) ** 2 = 0.05
    assert lower_bound(1, 2) == pytest.approx(1 - math.sqrt(0.95))


def test_bootstrap_of_a_perfect_and_of_a_mixed_bag():
    perfect = bootstrap(closures([1] * 20))
    assert (perfect.low, perfect.high) == (1.0, 1.0)
    mixed = bootstrap(closures([1] * 90 + [0] * 10))
    # binomial: 0.9 +- 1.96 * sqrt(0.9 * 0.1 / 100) = 0.841 .. 0.959
    assert mixed.low == pytest.approx(0.84, abs=0.02)
    assert mixed.high == pytest.approx(0.96, abs=0.02)
    assert math.isnan(bootstrap(closures([])).low)


def test_stretches_are_drawn_whole_and_drives_apart():
    """100 neighbours that are all right or all wrong tell no more than the 10 stretches."""
    right = np.repeat(np.random.default_rng(1).random(10) < 0.7, 10)
    wide, narrow = bootstrap(closures(right, apart=1)), bootstrap(closures(right))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    twice = closures([1] * 10 + [0] * 10, apart=0)
    twice.keyframe[10:, 0] = 1  # the same keyframes of another drive: a block of its own
    assert bootstrap(twice).low < bootstrap(twice).high
