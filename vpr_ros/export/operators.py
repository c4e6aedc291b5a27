# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The operators of `functions` in torch: they compute the same, and trace to one node each."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from vpr_ros.export.names import DOMAIN, INT8, NESTED, SLIM, SPARSE
from vpr_ros.export.packing import PER_BYTE, unpack_ternary
from vpr_ros.networks.sparse_ternary_linear import first_channels, int8_codes, largest_channels
from vpr_ros.networks.vit import HeadedProduct


def _typed(output: Any, like: Any, last: int | None = None) -> Any:
    """Give the traced `output` the type of `like`: any batch, another last dimension if told."""
    sizes = like.type().sizes()
    if sizes is not None:
        output.setType(like.type().with_sizes([None, *sizes[1:-1], last or sizes[-1]]))
    return output


class SparseTernaryProduct(torch.autograd.Function):
    """The product inside `SparseTernaryLinear`, from packed weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, packed: Tensor, delta: Tensor, sparsity: Tensor
    ) -> Tensor:
        """(B, M, K) to (B, M, N)."""
        codes, scale = int8_codes(x)
        codes = torch.where(largest_channels(codes, sparsity), codes, 0.0)
        signs = torch.from_numpy(unpack_ternary(packed.numpy())).to(x)
        return (codes @ signs) * delta * scale

    @staticmethod
    def symbolic(graph: Any, x: Any, packed: Any, delta: Any, sparsity: Any) -> Any:
        """The node."""
        output = graph.op(f"{DOMAIN}::{SPARSE}", x, packed, delta, sparsity)
        return _typed(output, x, packed.type().sizes()[1] * PER_BYTE)


@dataclasses.dataclass(frozen=True)
class Order:
    """What a nested layer keeps of its channels, and whether the next does so of its outputs."""

    rank: Tensor  # (K,) int64, the place of every channel
    slim: bool


class NestedTernaryProduct(torch.autograd.Function):
    """The product inside a nested `SparseTernaryLinear`, from packed weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, packed: Tensor, delta: Tensor, sparsity: Tensor, order: Order
    ) -> Tensor:
        """(..., K) to (..., N); all of them with `slim`, too, though nobody reads the last."""
        codes, scale = int8_codes(torch.where(first_channels(order.rank, sparsity), x, 0.0))
        signs = torch.from_numpy(unpack_ternary(packed.numpy())).to(x)
        return (codes @ signs) * delta * scale

    @staticmethod
    def symbolic(graph: Any, x: Any, packed: Any, delta: Any, sparsity: Any, order: Any) -> Any:
        """The node."""
        name = f"{DOMAIN}::{SLIM if order.slim else NESTED}"
        rank = graph.op("Constant", value_t=order.rank)
        output = graph.op(name, x, packed, delta, sparsity, rank)
        return _typed(output, x, packed.type().sizes()[1] * PER_BYTE)


class Int8Product(torch.autograd.Function):
    """The product inside `Int8Linear`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        codes, token_scale = int8_codes(x)
        return (codes @ weight.to(x)) * scale * token_scale

    @staticmethod
    def symbolic(graph: Any, x: Any, weight: Any, scale: Any) -> Any:
        """The node."""
        output = graph.op(f"{DOMAIN}::{INT8}", x, weight, scale)
        return _typed(output, x, weight.type().sizes()[1])


class Attention(torch.autograd.Function):
    """`HeadedProduct` as one operator."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """q (B, N, C) over k, v (B, M, C), to (B, N, C)."""
        return HeadedProduct(heads)(q, k, v)

    @staticmethod
    def symbolic(graph: Any, q: Any, k: Any, v: Any, heads: int) -> Any:
        """The node."""
        return _typed(graph.op(f"{DOMAIN}::Attention", q, k, v, num_heads_i=heads), q)
