# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ternary weights: every weight is -delta, 0 or +delta."""

from __future__ import annotations

from torch import Tensor

DELTA_OFFSET = 1e-5  # TAT-VPR; keeps a matrix of zeros from dividing by zero


def ternary_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight matrix as codes in {-1, 0, 1}, of its shape and dtype, and the scalar delta.

    delta = 1e-5 + mean |W|, code = clamp(round(W / delta), -1, 1): the absmean rule of BitNet
    b1.58 (arXiv 2402.17764, equations 1 to 3) as TAT-VPR (arXiv 2505.16447) uses it.
    """
    delta = DELTA_OFFSET + weight.abs().mean()
    return (weight / delta).round().clamp(-1, 1), delta
