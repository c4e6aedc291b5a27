# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Modules as they run on the robot, exchanged for those that train, before tracing."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ModelError
from vpr_ros.export.operators import (
    Attention,
    Int8Product,
    NestedTernaryProduct,
    Order,
    SparseTernaryProduct,
)
from vpr_ros.export.packing import PER_BYTE, pack_ternary
from vpr_ros.export.storage import SMALLEST
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.tat_vpr import TernaryMlp
from vpr_ros.networks.vit import Block, HeadedProduct

# Seven bits: on x86 before VNNI the int8 product adds pairs of code * weight in 16 bits, and
# 255 * 63 * 2 still fits. Ternary weights are far below.
INT8_LEVELS = 63


class PackedTernaryLinear(nn.Module):
    """`SparseTernaryLinear` with its weights packed at two bits.

    `slim`: the next layer keeps the first of its outputs as itself keeps its inputs.
    """

    rank: Tensor | None

    def __init__(self, layer: SparseTernaryLinear) -> None:
        super().__init__()
        codes, delta = (part.detach() for part in layer.ternary())
        packed = pack_ternary(codes.T.numpy().astype(np.int8))
        self.register_buffer("packed", torch.from_numpy(packed))
        self.register_buffer("delta", delta.squeeze(-1) if delta.ndim else delta)
        self.register_buffer("rank", layer.rank)
        self.slim = False
        self.bias = layer.bias

    def forward(self, x: Tensor, sparsity: Tensor) -> Tensor:
        """(B, M, K) to (B, M, N)."""
        matrix = self.packed, self.delta
        if self.rank is None:
            y = SparseTernaryProduct.apply(x, *matrix, sparsity)
        else:
            y = NestedTernaryProduct.apply(x, *matrix, sparsity, Order(self.rank, self.slim))
        return y if self.bias is None else y + self.bias


class Int8Linear(nn.Module):
    """`nn.Linear` with int8 weights, one scale per output."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().T  # (K, N)
        scale = (weight.abs().amax(dim=0) / INT8_LEVELS).clamp(min=1e-12)
        codes = (weight / scale).round().to(torch.int8)
        self.register_buffer("weight", codes.contiguous())
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        y = Int8Product.apply(x, self.weight, self.scale)
        return y if self.bias is None else y + self.bias


class Int8Conv(nn.Module):
    """`nn.Conv2d` of stride 1 as an int8 product of every position's neighbourhood."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.kernel = layer.kernel_size
        self.padding = (layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0])
        outputs = layer.out_channels
        linear = nn.Linear(layer.weight[0].numel(), outputs, bias=layer.bias is not None)
        by_position = layer.weight.detach().permute(0, 2, 3, 1)  # (N, kh, kw, C)
        linear.weight = nn.Parameter(by_position.reshape(outputs, -1))
        linear.bias = layer.bias
        self.product = Int8Linear(linear)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, N, H, W)."""
        height, width = int(x.shape[2]), int(x.shape[3])
        padded = F.pad(x, self.padding).permute(0, 2, 3, 1)  # (B, H + 2 ph, W + 2 pw, C)
        neighbours = [
            padded[:, i : i + height, j : j + width]
            for i in range(self.kernel[0])
            for j in range(self.kernel[1])
        ]
        y = self.product(torch.cat(neighbours, dim=3).flatten(1, 2))  # (B, H * W, N)
        return y.transpose(1, 2).unflatten(2, (height, width))


class FusedAttention(nn.Module):
    """`HeadedProduct` as one operator."""

    def __init__(self, layer: HeadedProduct) -> None:
        super().__init__()
        self.layer = layer
        self.heads = layer.heads

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, N, C) over k, v (B, M, C), to (B, N, C)."""
        return Attention.apply(q, k, v, self.heads)

    def class_attention(self, q: Tensor, k: Tensor) -> Tensor:
        """How much the first token of q attends to each of k, mean over heads: (B, M)."""
        return self.layer.class_attention(q, k)


class DenseTernaryLinear(nn.Linear):
    """`SparseTernaryLinear` as a plain float32 product: the yardstick for speed and size."""

    def __init__(self, layer: SparseTernaryLinear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        codes, delta = (part.detach() for part in layer.ternary())
        self.weight = nn.Parameter(codes * delta)
        self.bias = layer.bias

    def forward(self, x: Tensor, sparsity: object = None) -> Tensor:
        """(B, M, K) to (B, M, N), dense whatever the sparsity."""
        return super().forward(x)


PRECISIONS = ("fp32", "fp16", "int8")


def check_precision(precision: str) -> None:
    """Raise ModelError unless `precision` is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise ModelError(f"Precision is '{precision}'; give one of {', '.join(PRECISIONS)}.")


def exchange(network: nn.Module, precision: str, kept: frozenset[str] = frozenset()) -> nn.Module:
    """A copy of `network` as it runs: attention fused, layer scales folded, weights rounded.

    fp32: every linear layer is a float product, ternary ones too, without mask and int8
    codes; the yardstick for size and speed. fp16: ternary layers are packed, all other
    matrices rounded to half precision, their products float. int8: linear layers and
    convolutions of stride 1 hold int8 weights, except where the number of outputs is no multiple
    of 4, too small to gain, and the layers named in `kept`; what is left is rounded to half
    precision.
    """
    check_precision(precision)
    twin = copy.deepcopy(network).eval()
    fold_layer_scales(twin)
    order_hidden(twin)
    for path, parent in list(twin.named_modules()):
        for name, child in list(parent.named_children()):
            if f"{path}.{name}".lstrip(".") in kept:
                continue
            other = _exchanged(child, precision)
            if other is not child:
                setattr(parent, name, other)
        if isinstance(parent, TernaryMlp) and isinstance(parent.widen, PackedTernaryLinear):
            parent.widen.slim = isinstance(parent.norm, nn.Identity)
    if precision != "fp32":
        for parameter in twin.parameters():
            if parameter.numel() >= SMALLEST:
                parameter.data = parameter.data.half().float()
    return twin


def _exchanged(layer: nn.Module, precision: str) -> nn.Module:
    if isinstance(layer, HeadedProduct):
        return FusedAttention(layer)
    if isinstance(layer, SparseTernaryLinear):
        return (DenseTernaryLinear if precision == "fp32" else PackedTernaryLinear)(layer)
    if precision != "int8" or not becomes_int8(layer):
        return layer
    return Int8Linear(layer) if isinstance(layer, nn.Linear) else Int8Conv(layer)


def becomes_int8(layer: nn.Module) -> bool:
    """Whether `exchange` makes it int8 by default."""
    if isinstance(layer, SparseTernaryLinear):
        return False
    if isinstance(layer, nn.Linear):
        return layer.out_features % PER_BYTE == 0
    return isinstance(layer, nn.Conv2d) and layer.stride == (1, 1) and layer.groups == 1


def fold_layer_scales(network: nn.Module) -> None:
    """Multiply every layer scale of a `Vit` into the linear layer before it; the same function."""
    for block in network.modules():
        if isinstance(block, Block):
            pairs = (block.attention.out, block.scale1), (block.mlp.narrow, block.scale2)
            for linear, scale in pairs:
                linear.weight.data.mul_(scale.gain.data[:, None])
                linear.bias.data.mul_(scale.gain.data)
            block.scale1, block.scale2 = nn.Identity(), nn.Identity()


def order_hidden(network: nn.Module) -> None:
    """Put the hidden values of nested MLPs in the order in which they are kept.

    The same function, since they have no places of their own; but then what is kept of them is
    the first ones at every sparsity, and the layer before need not compute the rest.
    """
    for mlp in network.modules():
        if not isinstance(mlp, TernaryMlp) or not isinstance(mlp.norm, nn.Identity):
            continue
        widen, narrow = mlp.widen, mlp.narrow
        if narrow.rank is None:
            continue
        order = narrow.rank.argsort()
        widen.weight.data = widen.weight.data[order]
        widen.bias.data = widen.bias.data[order]
        narrow.weight.data = narrow.weight.data[:, order]
        narrow.rank = torch.arange(len(order))
