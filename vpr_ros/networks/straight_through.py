# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The straight-through estimator, shared by ternary weights, int8 activations and top-k."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor) -> Tensor:
        ctx.dtype = source.dtype
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient.to(ctx.dtype)


def straight_through(value: Tensor, source: Tensor) -> Tensor:
    """`value`, bit for bit, whose gradient flows to `source` as if nothing had happened.

    Bengio, Leonard, Courville, arXiv 1308.3432. A function of its own, since the usual
    `source + (value - source).detach()` rounds, and passes over memory three times.
    """
    found: Tensor = _StraightThrough.apply(value.detach(), source)
    return found
