# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A trained network as it runs on the robot: layers that each trace to one of our operators."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ModelError
from vpr_ros.export.functions import DOMAIN, INT8, NESTED, SLIM, SPARSE
from vpr_ros.export.onnx_file import SMALLEST
from vpr_ros.export.packing import PER_BYTE, pack_ternary, unpack_ternary
from vpr_ros.networks.sparse_ternary_linear import (
    SparseTernaryLinear,
    first_channels,
    int8_codes,
    largest_channels,
)
from vpr_ros.networks.tat_vpr import TernaryMlp
from vpr_ros.networks.vit import Block, HeadedProduct

PRECISIONS = ("fp32", "fp16", "int8")
# Seven bits, because on x86 without VNNI onnxruntime adds pairs of code * weight in 16 bits, where
# 255 * 63 * 2 still fits.
INT8_LEVELS = 63


# ---- operators: they compute what the functions of the same names compute --------------------


def _typed(output: Any, like: Any, last: int | None = None) -> Any:
    """Give a traced output the type of `like`, with any batch and the last dimension `last`."""
    sizes = like.type().sizes()
    if sizes is not None:
        output.setType(like.type().with_sizes([None, *sizes[1:-1], last or sizes[-1]]))
    return output


@dataclasses.dataclass(frozen=True)
class Order:
    """The order of a nested layer's channels."""

    rank: Tensor  # (K,) int64, the place of every channel
    slim: bool  # the next layer keeps the first outputs as this one keeps its inputs


class Operator(torch.autograd.Function):
    """A function of tensors that traces to one node."""

    @classmethod
    def run(cls, *inputs: Any) -> Tensor:
        """What `forward` returns."""
        return cls.apply(*inputs)  # type: ignore[no-untyped-call]


class TernaryProduct(Operator):
    """The product inside `SparseTernaryLinear`, from packed weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, packed: Tensor, delta: Tensor, sparsity: Tensor, order: Order | None
    ) -> Tensor:
        """(..., K) to (..., N). Without an order, every token chooses its channels.

        All outputs are computed, even with `slim`, where the next layer ignores some.
        """
        if order is None:
            codes, scale = int8_codes(x)
            codes = torch.where(largest_channels(codes, sparsity), codes, 0.0)
        else:
            codes, scale = int8_codes(torch.where(first_channels(order.rank, sparsity), x, 0.0))
        signs = torch.from_numpy(unpack_ternary(packed.numpy())).to(x)
        return (codes @ signs) * delta * scale

    @staticmethod
    def symbolic(graph: Any, x: Any, packed: Any, delta: Any, sparsity: Any, order: Any) -> Any:
        """The node."""
        inputs = [x, packed, delta, sparsity]
        name = SPARSE
        if order is not None:
            name = SLIM if order.slim else NESTED
            inputs.append(graph.op("Constant", value_t=order.rank))
        output = graph.op(f"{DOMAIN}::{name}", *inputs)
        return _typed(output, x, packed.type().sizes()[1] * PER_BYTE)


class Int8Product(Operator):
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


class Attention(Operator):
    """`HeadedProduct` as one operator."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """q (B, N, C) over k, v (B, M, C), to (B, N, C)."""
        return HeadedProduct(heads)(q, k, v)

    @staticmethod
    def symbolic(graph: Any, q: Any, k: Any, v: Any, heads: int) -> Any:
        """The node."""
        return _typed(graph.op(f"{DOMAIN}::Attention", q, k, v, num_heads_i=heads), q)


# ---- layers ------------------------------------------------------------------------------------


class PackedTernaryLinear(nn.Module):
    """`SparseTernaryLinear` with its weights packed at two bits; `slim` as in `Order`."""

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
        order = None if self.rank is None else Order(self.rank, self.slim)
        y = TernaryProduct.run(x, self.packed, self.delta, sparsity, order)
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
        y = Int8Product.run(x, self.weight, self.scale)
        return y if self.bias is None else y + self.bias


class Int8Conv(nn.Module):
    """`nn.Conv2d` of stride 1 as an int8 product of every position's neighbourhood."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.kernel = layer.kernel_size
        assert not isinstance(layer.padding, str)
        self.padding = (layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0])
        outputs = layer.out_channels
        linear = nn.Linear(layer.weight[0].numel(), outputs, bias=layer.bias is not None)
        by_position = layer.weight.detach().permute(0, 2, 3, 1)  # (N, kh, kw, C)
        linear.weight = nn.Parameter(by_position.reshape(outputs, -1))
        linear.bias = layer.bias  # type: ignore[assignment]  # a Linear's may be None, too
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
        return Attention.run(q, k, v, self.heads)

    def class_attention(self, q: Tensor, k: Tensor) -> Tensor:
        """How much the first token of q attends to each of k, averaged over heads: (B, M)."""
        return self.layer.class_attention(q, k)


class DenseTernaryLinear(nn.Linear):
    """`SparseTernaryLinear` as a dense float32 product, the yardstick for speed and size."""

    def __init__(self, layer: SparseTernaryLinear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None)
        codes, delta = (part.detach() for part in layer.ternary())
        self.weight = nn.Parameter(codes * delta)
        self.bias = layer.bias

    def forward(self, x: Tensor, sparsity: object = None) -> Tensor:
        """(B, M, K) to (B, M, N), dense whatever the sparsity."""
        return super().forward(x)


# ---- networks ----------------------------------------------------------------------------------


def check_precision(precision: str) -> None:
    """Raise ModelError unless `precision` is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise ModelError(f"Precision is '{precision}'; give one of {', '.join(PRECISIONS)}.")


def deployed(
    network: nn.Module, precision: str, kept_float: frozenset[str] = frozenset()
) -> nn.Module:
    """A copy of `network` as it runs: attention fused, layer scales folded, weights rounded.

    fp32: every linear layer is a dense float product, ternary ones included, without mask and int8
    codes; the yardstick for size and speed. fp16: ternary layers are packed; all other matrices
    are rounded to half precision and multiplied as floats. int8: linear layers and convolutions of
    stride 1 have int8 weights, except those whose number of outputs is not a multiple of 4, which
    are too small to gain, and those named in `kept_float`; the rest is rounded to half precision.
    Raises ModelError for another precision.
    """
    check_precision(precision)
    copied = copy.deepcopy(network).eval()
    fold_layer_scales(copied)
    order_hidden(copied)
    for path, parent in list(copied.named_modules()):
        for name, child in list(parent.named_children()):
            if f"{path}.{name}".lstrip(".") not in kept_float:
                setattr(parent, name, _deployed_layer(child, precision))
        if isinstance(parent, TernaryMlp) and isinstance(parent.widen, PackedTernaryLinear):
            parent.widen.slim = isinstance(parent.norm, nn.Identity)
    if precision != "fp32":
        for parameter in copied.parameters():
            if parameter.numel() >= SMALLEST:
                parameter.data = parameter.data.half().float()
    return copied


def _deployed_layer(layer: nn.Module, precision: str) -> nn.Module:
    if isinstance(layer, HeadedProduct):
        return FusedAttention(layer)
    if isinstance(layer, SparseTernaryLinear):
        return (DenseTernaryLinear if precision == "fp32" else PackedTernaryLinear)(layer)
    if precision == "int8" and becomes_int8(layer):
        if isinstance(layer, nn.Linear):
            return Int8Linear(layer)
        if isinstance(layer, nn.Conv2d):
            return Int8Conv(layer)
    return layer


def becomes_int8(layer: nn.Module) -> bool:
    """Whether `deployed` gives a layer int8 weights unless it is told to keep it float."""
    if isinstance(layer, SparseTernaryLinear):
        return False
    if isinstance(layer, nn.Linear):
        return layer.out_features % PER_BYTE == 0
    return isinstance(layer, nn.Conv2d) and layer.stride == (1, 1) and layer.groups == 1


def fold_layer_scales(network: nn.Module) -> None:
    """Multiply every layer scale of a `Vit` into the linear layer before it.

    The network computes the same.
    """
    for block in network.modules():
        if isinstance(block, Block):
            pairs = (block.attention.out, block.scale1), (block.mlp.narrow, block.scale2)
            for linear, scale in pairs:
                linear.weight.data.mul_(scale.gain.data[:, None])
                linear.bias.data.mul_(scale.gain.data)
            for name in ("scale1", "scale2"):
                setattr(block, name, nn.Identity())


def order_hidden(network: nn.Module) -> None:
    """Put the hidden values of nested MLPs in the order in which they are kept.

    The network computes the same, since the order of hidden values is arbitrary. But now the kept
    ones are the first at every sparsity, and the layer before need not compute the others.
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
