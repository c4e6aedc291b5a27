# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""TAT-VPR: the dial, its selections, gradients, and independence from the batch."""

import itertools

import pytest
import torch

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.tat_vpr import (
    SELECTIONS,
    SIZES,
    PatchEmbed,
    TatVPR,
    TatVPRConfig,
    dense_state,
)
from vpr_ros.networks.vit import Mlp, Vit, VitConfig

TINY = {"image_size": 40, "patch_size": 8, "dim": 64, "depth": 2, "heads": 2, "head": "cls"}


def make(**changes):
    torch.manual_seed(0)
    return TatVPR(TatVPRConfig.from_dict({**TINY, **changes})).eval()


@pytest.mark.parametrize("selection", SELECTIONS)
def test_the_dial_changes_the_output_and_zero_is_dense(selection):
    network = make(selection=selection)
    image = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        dense, low, high = network(image), network(image, 0.4), network(image, 0.6)
        assert torch.equal(network(image, torch.tensor(0.4)), low)
        assert torch.equal(network(image, torch.tensor(0.0)), dense)
    assert float(dense @ low.T) < 0.9999
    assert float(dense @ high.T) < float(dense @ low.T)


def test_selection_and_int8_are_part_of_the_function():
    image = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        outputs = [
            make(selection=selection, int8=int8)(image, 0.5)
            for selection, int8 in itertools.product(SELECTIONS, [True, False])
        ]
    for a, b in itertools.combinations(outputs, 2):
        assert not torch.equal(a, b)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.6])
def test_a_descriptor_does_not_depend_on_its_batch(selection, sparsity):
    # Without int8 rounding, where the last bit of a matrix product may tip a code.
    network = make(selection=selection, int8=False)
    images = torch.randn(3, 3, 40, 40)
    images[1] *= 50  # a loud neighbour
    with torch.no_grad():
        together = network(images, sparsity)
        alone = torch.cat([network(image[None], sparsity) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_every_parameter_gets_a_gradient():
    network = make(head="gem")
    network(torch.randn(2, 3, 40, 40), 0.5)[:, 0].sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_last_mlp_is_plain_and_all_else_ternary():
    network = make(depth=3)
    ternary = [m for m in network.modules() if isinstance(m, SparseTernaryLinear)]
    assert len(ternary) == 3 * 2 + 2 * 2
    assert isinstance(network.backbone.blocks[-1].mlp, Mlp)
    assert network.backbone.blocks[0].attention.qkv.bias is None


def test_patch_embedding_unfolds_in_reading_order():
    embed = PatchEmbed(8, 16)
    image = torch.randn(1, 3, 16, 24)
    pixels = image[0, :, 8:16, 16:24].flatten()  # row 1, column 2
    expected = embed.norm(embed.project(embed.norm_pixels(pixels)))
    assert torch.allclose(embed(image)[0, 5], expected, atol=1e-5)


def test_other_image_sizes_resize_the_positions():
    assert make()(torch.randn(1, 3, 48, 64), 0.4).shape == (1, 64)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_share_everything_but_width(size):
    config = TatVPRConfig.of_size(size, head="cls")
    assert config.dim == {"base": 768, "small": 384, "tiny": 192}[size]
    assert config.dim // config.heads == 64
    assert (config.depth, config.patch_size, config.image_size) == (12, 16, 224)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"selection": "4x4"}, "one of token, nested"),
        ({"image_size": 225}, "225x225"),
        ({"head": "vlad"}, "head"),
    ],
)
def test_bad_settings_are_errors(changes, words):
    with pytest.raises(ConfigError, match=words):
        TatVPRConfig.from_dict(changes)


def test_the_layout_of_dinov2_has_its_norms_and_biases():
    network = make(layout="dinov2", scales="output")
    names = {name for name, _ in network.backbone.named_parameters()}
    assert "blocks.0.attention.qkv.bias" in names
    assert not {"blocks.0.mlp.norm.weight", "patch_embed.norm.weight"} & names
    layers = [m for m in network.modules() if isinstance(m, SparseTernaryLinear)]
    assert layers and all(layer.per_output for layer in layers)
    reference = {name for name, _ in make().backbone.named_parameters()}
    assert "blocks.0.attention.qkv.bias" not in reference
    assert {"blocks.0.mlp.norm.weight", "patch_embed.norm_pixels.weight"} <= reference


def test_the_backbone_as_dense_blocks_gives_the_same_tokens():
    options = {"image_size": 32, "patch_size": 8, "dim": 64, "depth": 2, "heads": 2}
    config = TatVPRConfig(**options, head="gem", layout="dinov2", scales="output", int8=False)
    torch.manual_seed(0)
    ternary = TatVPR(config).eval().backbone
    for parameter in ternary.parameters():  # no norm, bias or embedding is what it starts as
        parameter.data += 0.1 * torch.randn_like(parameter)
    vit = Vit(VitConfig(patch_size=8, dim=64, depth=2, heads=2, position_grid=4)).eval()
    vit.load_state_dict(dense_state(ternary))
    image = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(vit(image).patches, ternary(image).patches, atol=1e-3, rtol=1e-3)
    with pytest.raises(ConfigError, match="of layout 'reference'"):
        dense_state(TatVPR(TatVPRConfig(**options, head="gem")).backbone)
