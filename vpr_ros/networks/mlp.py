# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The two-layer perceptron that follows every attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Mlp(nn.Module):
    """Widen, exact GELU, narrow (Dosovitskiy et al., ICLR 2021, section 3.1)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.widen = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to (..., dim)."""
        return self.narrow(F.gelu(self.widen(x)))
