# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""OLE: local structure along rows and along columns, without what both repeat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vpr_ros.networks.gem import GeM
from vpr_ros.networks.mlp import Mlp
from vpr_ros.networks.tokens import Tokens

EPSILON = 1e-6


def remove_component(features: Tensor, direction: Tensor) -> Tensor:
    """A map (B, C, H, W) less its projection onto a vector (B, C) at every position."""
    length = direction.norm(dim=1, keepdim=True) + EPSILON
    unit = (direction / length)[:, :, None, None]  # (B, C, 1, 1)
    correlation = (features * unit).sum(dim=1, keepdim=True)  # S, (B, 1, H, W)
    return features - correlation * unit


class OLE(nn.Module):
    """Orientation-aware local enhancer (EfficientVPR, CVPR 2026, OLE).

    1x3 and 3x1 convolutions give f_h and f_v; f'_v = MLP(GeM(f_v)) sums up the vertical path;
    f'_h = f_h - S / (|f'_v| + eps) f'_v; a 1x1 convolution joins f'_h and f_v.

    Chosen where the paper is silent. The spatial correlation S is that of f_h with the unit
    vector of f'_v: with the plain inner product the formula would not leave f'_h orthogonal to
    f'_v, which is its declared purpose. The MLP has ratio 4 and GeM a learned exponent, both as
    usual; convolutions pad with zeros so that the map keeps its size.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.horizontal = nn.Conv2d(dim, dim, (1, 3), padding=(0, 1))
        self.vertical = nn.Conv2d(dim, dim, (3, 1), padding=(1, 0))
        self.pool = GeM(trainable=True)
        self.summary = Mlp(dim, 4 * dim)
        self.join = nn.Conv2d(2 * dim, dim, 1)

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of N patches to orientation-aware patches (B, N, C)."""
        along_rows = self.horizontal(tokens.map)  # f_h, (B, C, H, W)
        along_columns = self.vertical(tokens.map)  # f_v
        summary = self.summary(self.pool(along_columns))  # f'_v, (B, C)
        along_rows = remove_component(along_rows, summary)  # f'_h
        joined = self.join(torch.cat([along_rows, along_columns], dim=1))
        return joined.flatten(2).transpose(1, 2)
