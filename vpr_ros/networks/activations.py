# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Activations as int8, one scale per token."""

from __future__ import annotations

from torch import Tensor

LEVELS = 127
SMALLEST_PEAK = 1e-8  # keeps a token of zeros from dividing by zero


def int8_codes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations (..., K) as whole numbers in [-127, 127] (float dtype) and scales (..., 1).

    codes = round(x * 127 / max |x|), halves to even; x is about codes * scale. Symmetric and per
    token, as in BitNet b1.58 (arXiv 2402.17764, section 2).
    """
    x = x.float()  # under mixed precision, too, the codes are those of the robot
    peak = x.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST_PEAK)
    levels = peak.new_tensor(LEVELS)  # a tensor: a number would become 1 / peak, rounded twice
    return (x * (levels / peak)).round(), peak / levels
