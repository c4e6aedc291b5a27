# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Generalised-mean pooling: one vector from a map of local features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GeM(nn.Module):
    """Generalised mean over all positions (Radenovic et al., TPAMI 2019, equation 2).

    p = 1 is the average, p towards infinity the maximum; the value between says how much a few
    strong responses count. `p` is a learnable scalar if `trainable`, a buffer otherwise, and is
    in the state dict either way.
    """

    p: Tensor

    def __init__(self, p: float = 3.0, eps: float = 1e-6, trainable: bool = False) -> None:
        super().__init__()
        if not p >= 1.0:
            raise ValueError(f"GeM exponent p is {p}; give 1 (average) or more.")
        self.eps = eps
        if trainable:
            self.p = nn.Parameter(torch.tensor(float(p)))
        else:
            self.register_buffer("p", torch.tensor(float(p)))

    def forward(self, features: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, C); values below `eps` count as `eps`."""
        powered = features.clamp(min=self.eps).pow(self.p)  # (B, C, H, W)
        return powered.mean(dim=(2, 3)).pow(1.0 / self.p)
