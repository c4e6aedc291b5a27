# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The two heads without layers of their own: the class token, and GeM over the patches."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.networks.gem import GeM
from vpr_ros.networks.tokens import Tokens


class ClassHead(nn.Module):
    """The backbone's class token; no parameters, `dim` values."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.descriptor_size = dim

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, dim) of unit length."""
        return F.normalize(tokens.class_token, dim=1)


class GeMHead(nn.Module):
    """Generalised mean of the patches with a learned exponent; `dim` values."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pool = GeM(trainable=True)
        self.descriptor_size = dim

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, dim) of unit length."""
        return F.normalize(self.pool(tokens.map), dim=1)
