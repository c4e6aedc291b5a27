# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SGFS: the image's own prompts pick the local features that matter."""

from __future__ import annotations

from torch import Tensor, nn

from vpr_ros.networks.attention import CrossAttention, SelfAttention
from vpr_ros.networks.mlp import Mlp


class SGFS(nn.Module):
    """Semantic-guided feature selector (EfficientVPR, CVPR 2026, SGFS).

    The prompts of the backbone's last layer refine each other by self-attention and then, as
    queries, select among the local features by cross-attention.

    Chosen where the paper is silent. Each attention is followed by an MLP of ratio 4, in pre-norm
    blocks; the final norm stands where BoQ has its norm of the outputs. The number of heads is
    the backbone's.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.refine = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.refine_mlp = Mlp(dim, 4 * dim)
        self.norm3 = nn.LayerNorm(dim)
        self.select = CrossAttention(dim, heads)
        self.norm4 = nn.LayerNorm(dim)
        self.select_mlp = Mlp(dim, 4 * dim)
        self.norm5 = nn.LayerNorm(dim)

    def forward(self, prompts: Tensor, features: Tensor) -> Tensor:
        """Prompts (B, P, C) and local features (B, M, C) to selected features (B, P, C)."""
        x = prompts + self.refine(self.norm1(prompts))
        x = x + self.refine_mlp(self.norm2(x))
        x = x + self.select(self.norm3(x), features)
        x = x + self.select_mlp(self.norm4(x))
        return self.norm5(x)
