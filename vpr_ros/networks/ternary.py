# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ternary weights: every weight is -delta, 0 or +delta."""

from __future__ import annotations

from torch import Tensor

DELTA_OFFSET = 1e-5  # TAT-VPR; keeps a matrix of zeros from dividing by zero


def ternary_codes(weight: Tensor, per_output: bool = False) -> tuple[Tensor, Tensor]:
    """A weight matrix (N, K) as codes in {-1, 0, 1}, of its shape and dtype, and delta.

    delta = 1e-5 + mean |W|, code = clamp(round(W / delta), -1, 1): the absmean rule of BitNet
    b1.58 (arXiv 2402.17764, equations 1 to 3) as TAT-VPR (arXiv 2505.16447) uses it, a scalar for
    the matrix. `per_output`: the same for every output, (N, 1), as in ternary weight networks
    (arXiv 1605.04711).
    """
    magnitude = weight.abs()
    delta = DELTA_OFFSET + (
        magnitude.mean(dim=1, keepdim=True) if per_output else magnitude.mean()
    )
    return (weight / delta).round().clamp(-1, 1), delta
