# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Nested ternary layers' rounding and masking in compiled loops, bit for bit the same.

To round and mask a layer's activations, eager torch passes over them a dozen times, which takes a
third of a training step on a CPU; fused loops take a third of that time.
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
    """Make nested layers round in compiled loops; ConfigError without a C++ compiler."""
    compilers = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if not any(shutil.which(name) for name in compilers if name):
        raise ConfigError(
            "The recipe's run has 'fused', which needs a C++ compiler, and none was found. "
            "Install g++, or give fused: false."
        )
    for layer in network.modules():
        if isinstance(layer, SparseTernaryLinear) and layer.int8 and layer.rank is not None:
            fused = functools.partial(_rounded, layer.rounded, layer.rank)
            layer.rounded = fused  # type: ignore[method-assign]


def _rounded(
    eager: Callable[..., Tensor], rank: Tensor, x: Tensor, sparsity: float | Tensor
) -> Tensor:
    """`SparseTernaryLinear.rounded`, which is `eager`, of a layer whose channels have `rank`."""
    if isinstance(sparsity, Tensor):
        return eager(x, sparsity)
    with torch.no_grad():
        if sparsity == 0:
            return _dense(x)
        return _first(x, first_channels(rank, sparsity))


@torch.compile
def _dense(x: Tensor) -> Tensor:
    codes, scale = int8_codes(x)
    return codes * scale


@torch.compile
def _first(x: Tensor, kept: Tensor) -> Tensor:
    codes, scale = int8_codes(torch.where(kept, x, 0.0))
    return codes * scale
