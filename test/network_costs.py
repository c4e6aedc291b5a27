# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a network costs: parameters, bytes and operations, as published and as they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from vpr_ros.networks.heads.boq import EncoderLayer
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.vit import HeadedProduct

TERNARY_BITS = 2
OTHER_BITS = 16


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The multiply-accumulates of one layer for one image."""

    name: str
    macs: int  # dense
    masked: bool  # sparsity removes inputs of this layer
    biased_linear: bool  # a linear layer that adds a bias
    fused: bool  # inside torch's fused encoder layer, where its profiler counts nothing


def layer_costs(network: nn.Module, height: int, width: int) -> list[LayerCost]:
    """The cost of every linear layer, convolution and attention product, in execution order.

    Runs the network once, dense, on a blank image of height x width px on the network's device;
    a network built under `torch.device("meta")` needs neither memory nor time. Norms, softmax,
    activation functions and the heads' few weightless products are not counted: under 0.3 % of
    any network here.
    """
    fused = {
        id(part)
        for layer in network.modules()
        if isinstance(layer, EncoderLayer)
        for part in (layer.widen, layer.attention.product)
    }
    costs: list[LayerCost] = []

    def record(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        linear = isinstance(module, nn.Linear)
        costs.append(
            LayerCost(
                name,
                _macs(module, inputs, output),
                masked=isinstance(module, SparseTernaryLinear),
                biased_linear=linear and module.bias is not None,
                fused=id(module) in fused,
            )
        )

    hooks = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: record(name, module, inputs, output)
        )
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d, HeadedProduct))
    ]
    training = network.training
    try:
        device = next(network.parameters()).device
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, height, width, device=device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return costs


def _macs(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> int:
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, nn.Conv2d):
        return output.numel() * module.weight[0].numel()
    queries, keys = inputs[0], inputs[1]
    return 2 * queries.numel() * keys.shape[1]  # scores, then the mix of values


def gflop(costs: list[LayerCost], sparsity: float = 0.0) -> float:
    """Operations per image in 1e9, 2 per multiply-accumulate, less what the masks remove."""
    left = sum(cost.macs * ((1.0 - sparsity) if cost.masked else 1.0) for cost in costs)
    return 2.0 * left / 1e9


def published_gflop(costs: list[LayerCost], sparsity: float = 0.0) -> float:
    """Operations per image in 1e9 as TAT-VPR's published figures count them.

    They multiply by (1 - s) every linear layer that adds a bias, the full-precision ones too,
    but not the bias-free qkv that the mask does reach; and torch's profiler sees neither the
    first MLP layer nor the attention product inside a fused encoder layer (BoQ's). `gflop`
    counts what is computed.
    """
    left = sum(
        cost.macs * ((1.0 - sparsity) if cost.biased_linear else 1.0)
        for cost in costs
        if not cost.fused
    )
    return 2.0 * left / 1e9


def published_mib(network: nn.Module) -> float:
    """Size in MiB as TAT-VPR publishes it.

    The ternary layers, their biases included, at 2 bits a value, all else at 16.
    """
    ternary = {
        id(parameter)
        for layer in network.modules()
        if isinstance(layer, SparseTernaryLinear)
        for parameter in layer.parameters()
    }
    bits = sum(
        parameter.numel() * (TERNARY_BITS if id(parameter) in ternary else OTHER_BITS)
        for parameter in network.parameters()
    )
    return bits / 8 / 2**20
