# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""MsIA: patches ask the same scene at several scales for context."""

from __future__ import annotations

from torch import Tensor, nn

from vpr_ros.networks.attention import CrossAttention
from vpr_ros.networks.mlp import Mlp
from vpr_ros.networks.multi_scale import multi_scale_sequence
from vpr_ros.networks.tokens import Tokens


class MsIA(nn.Module):
    """Multi-scale interaction attention (EfficientVPR, CVPR 2026, MsIA).

    The patch sequence is the query; the patch map at scales 1, 2 and 4, flattened and joined, is
    key and value.

    Chosen where the paper is silent. Maps shrink by averaging, which adds no parameters and no
    blur of its own. The attention stands in a full pre-norm block, residual and MLP of ratio 4,
    as every attention of the backbone does; with the same rule in SGFS and OLE the trainable
    parameters come out (7.8 M against the published 7.7 M).
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = CrossAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of N patches to context-aware patches (B, N, C)."""
        x = tokens.patches + self.attention(tokens.patches, multi_scale_sequence(tokens.map))
        return x + self.mlp(self.norm(x))
