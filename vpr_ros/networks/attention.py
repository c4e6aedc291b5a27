# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention in the two forms the networks need: of a sequence, and across two."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class HeadedProduct(nn.Module):
    """softmax(q k^T / sqrt(d)) v per head (Vaswani et al., NeurIPS 2017, equation 1).

    Without parameters; a module so that cost accounting can see it.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, C / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, N, C) over k, v (B, M, C), to (B, N, C)."""
        mixed = F.scaled_dot_product_attention(self.split(q), self.split(k), self.split(v))
        return mixed.transpose(1, 2).flatten(2)

    def first_row(self, q: Tensor, k: Tensor) -> Tensor:
        """How much the first token of q attends to each of k, mean over heads: (B, M)."""
        query, keys = self.split(q[:, :1]), self.split(k)
        logits = query @ keys.transpose(2, 3) * keys.shape[-1] ** -0.5  # (B, heads, 1, M)
        return logits.softmax(dim=-1).mean(dim=1).squeeze(1)


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself; query, key and value in one product."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.product = HeadedProduct(heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        q, k, v = self.qkv(x).split(self.dim, dim=-1)
        return self.out(self.product(q, k, v))

    def forward_watched(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the attention of the first (class) token to every token, (B, N)."""
        q, k, v = self.qkv(x).split(self.dim, dim=-1)
        return self.out(self.product(q, k, v)), self.product.first_row(q, k)


class CrossAttention(nn.Module):
    """Multi-head attention of queries to another sequence."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.product = HeadedProduct(heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Queries (B, N, C) over context (B, M, C), to (B, N, C)."""
        k, v = self.kv(context).split(self.dim, dim=-1)
        return self.out(self.product(self.q(queries), k, v))
