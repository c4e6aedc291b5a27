# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""TAT-VPR's published sizes and operation counts come out, and the honest ones beside them."""

import functools

import pytest
import torch
from network_costs import gflop, layer_costs, published_gflop, published_mib

from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig
from vpr_ros.networks.vit import Vit, VitConfig

# TAT-VPR's published figures: MiB, GFLOP at s = 0, 0.4, 0.6.
PUBLISHED = {
    "boq": (56.6, 38.89, 27.93, 22.43),
    "salad": (32.5, 35.57, 25.47, 20.40),
    "mixvpr": (30.7, 35.49, 25.35, 20.26),
    "cls": (29.8, 35.22, 25.12, 20.05),
}


@functools.cache
def reference(head, size="base"):
    with torch.device("meta"):
        network = TatVPR(TatVPRConfig.of_size(size, head=head))
    return network, layer_costs(network, 224, 224)


@pytest.mark.parametrize("head", PUBLISHED)
def test_published_figures_come_out(head):
    network, costs = reference(head)
    mib, *gflops = PUBLISHED[head]
    assert published_mib(network) == pytest.approx(mib, abs=0.05)
    for sparsity, expected in zip((0.0, 0.4, 0.6), gflops, strict=True):
        assert published_gflop(costs, sparsity) == pytest.approx(expected, rel=0.02)


def test_sizes_come_out_to_the_third_decimal():
    sizes = {head: published_mib(reference(head)[0]) for head in ("cls", "mixvpr", "salad", "boq")}
    expected = {"cls": 29.769, "mixvpr": 30.670, "salad": 32.460, "boq": 56.637}
    assert sizes == pytest.approx(expected, abs=0.0006)


def test_honest_count_masks_only_what_is_masked():
    _, costs = reference("cls")
    for sparsity, expected in ((0.0, 35.1), (0.4, 22.5), (0.6, 16.2)):
        assert gflop(costs, sparsity) == pytest.approx(expected, abs=0.06)


def test_smaller_sizes_cost_less():
    counts = [gflop(reference("cls", size)[1]) for size in ("base", "small", "tiny")]
    assert counts == pytest.approx([35.13, 9.20, 2.51], abs=0.01)


def test_counts_by_hand_and_leaves_the_network_as_it_was():
    config = VitConfig(patch_size=4, dim=8, depth=1, heads=2, position_grid=2)
    vit = Vit(config).train()
    costs = layer_costs(vit, 8, 8)
    tokens = 5
    assert {cost.name: cost.macs for cost in costs} == {
        "patch_embed": 4 * 48 * 8,
        "blocks.0.attention.qkv": tokens * 8 * 24,
        "blocks.0.attention.product": 2 * tokens * tokens * 8,
        "blocks.0.attention.out": tokens * 8 * 8,
        "blocks.0.mlp.widen": tokens * 8 * 32,
        "blocks.0.mlp.narrow": tokens * 32 * 8,
    }
    assert vit.training
    assert not any(module._forward_hooks for module in vit.modules())


def test_efficientvpr_has_no_masked_layers():
    with torch.device("meta"):
        network = EfficientVPR(EfficientVPRConfig())
    costs = layer_costs(network, 322, 322)
    assert gflop(costs, 0.6) == gflop(costs, 0.0) == pytest.approx(34.6, abs=0.1)
