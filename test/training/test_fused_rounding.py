# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Compiled loops round and mask as the layers themselves do, bit for bit."""

import pytest
import torch

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.training.fused_rounding import fuse_rounding


@pytest.mark.parametrize("sparsity", [0.0, 0.37, 0.6])
def test_fused_is_bit_for_bit_the_same(sparsity):
    layer, fused = (SparseTernaryLinear(96, 8, nested=True) for _ in range(2))
    layer.rank.copy_(torch.randperm(96))
    fused.rank.copy_(layer.rank)
    fuse_rounding(fused)
    for images in (3, 5):
        x = torch.randn(images, 43, 96) * torch.rand(images, 43, 1).exp()
        assert torch.equal(fused.rounded(x, sparsity), layer.rounded(x, sparsity))


def test_gradients_pass_as_before():
    torch.manual_seed(0)
    layer = SparseTernaryLinear(32, 8, nested=True)
    x = torch.randn(2, 17, 32)
    grads = []
    for fuse in (False, True):
        if fuse:
            fuse_rounding(layer)
        layer.zero_grad()
        own = x.clone().requires_grad_()
        layer(own, 0.5).square().sum().backward()
        grads.append((own.grad, layer.weight.grad.clone()))
    assert torch.equal(grads[0][0], grads[1][0])
    assert torch.equal(grads[0][1], grads[1][1])


def test_no_compiler_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match="fused: false"):
        fuse_rounding(SparseTernaryLinear(4, 4))
