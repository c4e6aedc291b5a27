# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ternary layers' codes and masks in compiled loops, bit for bit the same.

Eager torch passes over a layer's activations a dozen times to round and mask them, which takes a
CPU a third of a training step; fused loops take a third of that.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear, first_channels, int8_codes


def fuse_rounding(network: nn.Module) -> None:
    """Let the layers of a network round by compiled loops; ConfigError without a compiler."""
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if not any(shutil.which(name) for name in compilers if name):
        raise ConfigError(
            "The recipe's run has 'fused', which needs a C++ compiler, and there is none. Install "
            "g++, or give fused: false."
        )
    for layer in network.modules():
        if isinstance(layer, SparseTernaryLinear) and layer.int8:
            fused = functools.partial(_rounded, layer.rounded, layer)
            layer.rounded = fused  # type: ignore[method-assign]


def _rounded(
    eager: Callable[..., Tensor],
    layer: SparseTernaryLinear,
    x: Tensor,
    sparsity: float | Tensor,
) -> Tensor:
    """`SparseTernaryLinear.rounded`, which `eager` is, of `layer`."""
    if isinstance(sparsity, Tensor) or layer.rank is None:
        return eager(x, sparsity)
    with torch.no_grad():
        if sparsity == 0:
            return _dense(x)
        return _first(x, first_channels(layer.rank, sparsity))


@torch.compile
def _dense(x: Tensor) -> Tensor:
    codes, scale = int8_codes(x)
    return codes * scale


@torch.compile
def _first(x: Tensor, kept: Tensor) -> Tensor:
    codes, scale = int8_codes(torch.where(kept, x, 0.0))
    return codes * scale
