# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Patch maps at several scales as one sequence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = (1, 2, 4)


def scaled_maps(features: Tensor, scales: tuple[int, ...] = SCALES) -> list[Tensor]:
    """A map (B, C, H, W) at each scale s as (B, C, ceil(H / s), ceil(W / s)).

    s x s means; at an edge that s does not divide, the mean of what is there.
    """
    return [F.avg_pool2d(features, s, s, ceil_mode=True) if s > 1 else features for s in scales]


def multi_scale_sequence(features: Tensor, scales: tuple[int, ...] = SCALES) -> Tensor:
    """The scaled maps of (B, C, H, W), flattened and joined: (B, sum of positions, C)."""
    return torch.cat([m.flatten(2).transpose(1, 2) for m in scaled_maps(features, scales)], dim=1)
