# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""BoQ: bags of learned queries that attend to the feature map, block after block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.networks.vit import CrossAttention, SelfAttention, Tokens


class EncoderLayer(nn.Module):
    """Post-norm transformer encoder layer with ReLU (Vaswani et al., NeurIPS 2017)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.narrow(F.relu(self.widen(x))))


class BoQBlock(nn.Module):
    """One bag of queries: encode the features, refine the queries, let them select.

    Ali-bey et al., CVPR 2024, section 3.2.
    """

    def __init__(self, dim: int, queries: int, heads: int) -> None:
        super().__init__()
        self.encoder = EncoderLayer(dim, heads)
        self.queries = nn.Parameter(torch.randn(1, queries, dim))
        self.refine = SelfAttention(dim, heads)
        self.norm_queries = nn.LayerNorm(dim)
        self.select = CrossAttention(dim, heads)
        self.norm_output = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, N, C) to encoded features (B, N, C) and the queries' answer (B, Q, C)."""
        features = self.encoder(features)
        # The refined queries are the same for every image, but stay inside the graph to train.
        queries = self.queries + self.refine(self.queries)
        queries = self.norm_queries(queries).expand(features.shape[0], -1, -1)
        return features, self.norm_output(self.select(queries, features))


class BoQ(nn.Module):
    """Bag of queries (Ali-bey et al., CVPR 2024) with the settings of the TAT-VPR reference.

    3x3 convolution to 512 channels, two blocks of 32 queries, 64 answers mixed to 32 rows:
    16384 values, 14.087 M parameters on 768 channels.
    """

    def __init__(
        self, dim: int, channels: int = 512, blocks: int = 2, queries: int = 32, rows: int = 32
    ) -> None:
        super().__init__()
        self.project = nn.Conv2d(dim, channels, 3, padding=1)
        self.norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(
            BoQBlock(channels, queries, heads=channels // 64) for _ in range(blocks)
        )
        self.mix = nn.Linear(blocks * queries, rows)
        self.descriptor_size = rows * channels

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, descriptor_size) of unit length."""
        features = self.norm(self.project(tokens.map).flatten(2).transpose(1, 2))  # (B, N, 512)
        answers = []
        for block in self.blocks:
            features, answer = block(features)
            answers.append(answer)
        mixed = self.mix(torch.cat(answers, dim=1).transpose(1, 2))  # (B, 512, rows)
        return F.normalize(mixed.flatten(1), dim=1)
