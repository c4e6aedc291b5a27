# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The order in which nested layers keep their channels, and what makes it cost little."""

import torch

from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.ternary_vit import TernaryAttention, TernaryVitConfig
from vpr_ros.training.channel_order import channel_rank
from vpr_ros.training.student_fit import centred, mix
from vpr_ros.training.ternary_fit import Moments


def test_the_next_to_go_is_the_one_that_changes_the_outputs_least():
    torch.manual_seed(0)
    x = torch.randn(500, 4) @ torch.randn(4, 9) + 0.3 * torch.randn(500, 9)
    weight = torch.randn(5, 9)
    moments = Moments(9, 5)
    moments.add(x, x @ weight.T)
    rank = channel_rank(moments, weight)
    assert sorted(rank.tolist()) == list(range(9))

    def change(dropped):
        return float((x[:, dropped] @ weight[:, dropped].T).square().mean())

    gone = []
    for place in range(8, -1, -1):
        left = [channel for channel in range(9) if channel not in gone]
        gone.append(min(left, key=lambda channel: change([*gone, channel])))
        assert int(rank[gone[-1]]) == place


def test_a_channel_nobody_needs_goes_first_however_large_it_is():
    torch.manual_seed(1)
    x, weight = torch.randn(300, 6), torch.randn(4, 6)
    x[:, 2] *= 100
    weight[:, 2] = 0
    moments = Moments(6, 4)
    moments.add(x, x @ weight.T)
    assert int(channel_rank(moments, weight)[2]) == 5


def test_dropped_channels_take_no_mean_with_them():
    torch.manual_seed(2)
    norm = torch.nn.LayerNorm(12)
    torch.nn.init.normal_(norm.bias)
    inputs = [torch.randn(3, 7, 12) + torch.randn(12) for _ in range(2)]
    with torch.no_grad():
        reader = SparseTernaryLinear(12, 4, nested=True)
        found = centred(norm, inputs, reader)
        assert torch.allclose(torch.cat(found).mean(dim=(0, 1)), torch.zeros(12), atol=1e-6)
        for x, y in zip(inputs, found, strict=True):
            assert torch.allclose(norm(x), y, atol=1e-6)

        bias = norm.bias.clone()  # tokens that choose for themselves are left alone
        centred(norm, inputs, SparseTernaryLinear(12, 4))
        assert torch.equal(norm.bias, bias)

        config = TernaryVitConfig(dim=12, heads=2, layout="dinov2", selection="nested")
        attention = TernaryAttention(config)
        qkv = [torch.randn(3, 7, 36) + torch.randn(36) for _ in range(2)]
        bias = attention.qkv.bias.clone()
        mixed = mix(attention, qkv)
        assert torch.allclose(torch.cat(mixed).mean(dim=(0, 1)), torch.zeros(12), atol=1e-6)
        moved = attention.qkv.bias - bias
        assert torch.equal(moved[:24], torch.zeros(24))
        for x, y in zip(qkv, mixed, strict=True):
            again = attention.product(*(x + moved).chunk(3, dim=-1))
            assert torch.allclose(again, y, atol=1e-5)
