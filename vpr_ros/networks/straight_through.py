# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The straight-through estimator, shared by ternary weights, int8 activations and top-k."""

from __future__ import annotations

from torch import Tensor


def straight_through(value: Tensor, source: Tensor) -> Tensor:
    """`value`, bit for bit, whose gradient flows to `source` as if nothing had happened.

    Bengio, Leonard, Courville, arXiv 1308.3432. `source - source.detach()` is exactly zero, so
    that adding it, unlike the usual `source + (value - source).detach()`, rounds nothing.
    """
    return value.detach() + (source - source.detach())
