# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The layers on the robot compute what the trained ones do, or nearly so where they round."""

import pytest
import torch

from vpr_ros.core.errors import ModelError
from vpr_ros.export.deploy_layers import (
    Int8Conv,
    Int8Linear,
    PackedTernaryLinear,
    deployed,
    fold_layer_scales,
)
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig
from vpr_ros.networks.vit import Vit, VitConfig


def relative_error(found, expected):
    return float(((found - expected).norm() / expected.norm()).detach())


def test_packed_layer_is_the_trained_layer():
    torch.manual_seed(0)
    layer = TatVPR(TatVPRConfig(dim=64, depth=1, heads=1)).backbone.blocks[0].attention.out
    x = torch.randn(2, 17, 64)
    for sparsity in (0.0, 0.4, 0.9):
        packed = PackedTernaryLinear(layer)(x, torch.tensor(sparsity))
        assert torch.allclose(packed, layer(x, sparsity), atol=1e-5)


def test_int8_layers_are_close():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32)
    x = torch.randn(2, 5, 64)
    assert relative_error(Int8Linear(linear)(x), linear(x)) < 0.02


@pytest.mark.parametrize("kernel, padding", [((1, 3), (0, 1)), ((3, 1), (1, 0)), (3, 1), (1, 0)])
def test_int8_convolutions_are_close(kernel, padding):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(16, 8, kernel, padding=padding)
    x = torch.randn(2, 16, 5, 7)
    assert Int8Conv(conv)(x).shape == conv(x).shape
    assert relative_error(Int8Conv(conv)(x), conv(x)) < 0.02


def test_folded_layer_scales_change_nothing():
    torch.manual_seed(0)
    vit = Vit(VitConfig(patch_size=4, dim=12, depth=2, heads=3, position_grid=3)).eval()
    for block in vit.blocks:
        torch.nn.init.normal_(block.scale1.gain)
        torch.nn.init.normal_(block.scale2.gain)
    image = torch.randn(1, 3, 12, 12)
    with torch.no_grad():
        before = vit(image)
        fold_layer_scales(vit)
        after = vit(image)
    assert not any(name.endswith("gain") for name, _ in vit.named_parameters())
    assert torch.allclose(before.patches, after.patches, atol=1e-5)


def test_the_network_itself_stays_as_it_was():
    network = TatVPR(TatVPRConfig(image_size=32, dim=64, depth=1, heads=1, head="cls"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    deployed(network, "int8")
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_unknown_precision_is_an_error():
    with pytest.raises(ModelError, match="Precision is 'int4'; give one of fp32"):
        deployed(torch.nn.Linear(1, 1), "int4")
