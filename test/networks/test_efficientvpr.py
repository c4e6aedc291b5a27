# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientVPR: the published numbers, each part by hand, and independence from the batch."""

import math

import pytest
import torch

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.efficientvpr import (
    OLE,
    SCALES,
    EfficientVPR,
    EfficientVPRConfig,
    MsIA,
    SceneVPT,
    multi_scale_sequence,
    remove_component,
)
from vpr_ros.networks.vit import Tokens, Vit, VitConfig

TINY = {
    "patch_size": 4,
    "dim": 64,
    "depth": 2,
    "heads": 2,
    "position_grid": 3,
    "prompts": 5,
    "rows": 3,
}


def make(**changes):
    torch.manual_seed(0)
    return EfficientVPR(EfficientVPRConfig.from_dict({**TINY, **changes})).eval()


def trainable(network):
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_published_numbers():
    with torch.device("meta"):
        network = EfficientVPR(EfficientVPRConfig())
    assert network.descriptor_size == 3456
    assert network.backbone.prompts.numel() == 147_456
    assert trainable(network.backbone) == pytest.approx(0.15e6, rel=0.03)
    assert trainable(network) == pytest.approx(7.7e6, rel=0.03)
    assert sum(p.numel() for p in network.vit.parameters()) == pytest.approx(22.06e6, rel=0.001)


@pytest.mark.parametrize("side", [266, 322])
def test_published_image_sizes_fit(side):
    with torch.device("meta"):
        network = EfficientVPR(EfficientVPRConfig())
        assert network(torch.zeros(1, 3, side, side)).shape == (1, 3456)


def test_compressing_prompts_gives_as_many_values_with_41580_weights():
    with torch.device("meta"):
        mixed = EfficientVPR(EfficientVPRConfig())
        compressed = EfficientVPR(EfficientVPRConfig(projection="compress"))
    assert compressed.descriptor_size == 3456
    weights = sum(p.numel() for p in compressed.compress.parameters())
    assert weights == 41_580
    assert trainable(compressed) - trainable(mixed) == weights - 9 * 33


@pytest.mark.parametrize("projection", ["mix", "compress"])
def test_the_projection_of_what_was_selected_and_the_map_behind_it(projection):
    network = make(prompts=8, rows=2, projection=projection, size=7)
    selected = torch.randn(3, 8, 64)
    network.selector.forward = lambda prompts, features: selected
    if projection == "mix":  # across prompts, channel by channel
        rows = torch.einsum("bpc,rp->brc", selected, network.mix.weight)
        rows = rows + network.mix.bias[:, None]
    else:  # within each prompt
        rows = selected @ network.compress.weight.T + network.compress.bias
    whole = torch.nn.functional.normalize(rows.flatten(1), dim=1)
    tokens = network.backbone(torch.randn(3, 3, 12, 12))
    torch.testing.assert_close(network.rows(tokens), whole)
    wanted = torch.nn.functional.normalize(whole @ network.project.weight.T, dim=1)
    torch.testing.assert_close(network.describe(tokens), wanted)
    assert wanted.shape == (3, network.descriptor_size) == (3, 7)


def test_descriptors_have_unit_length_and_all_but_the_transformer_trains():
    network = make()
    output = network(torch.randn(2, 3, 12, 16))
    assert output.shape == (2, network.descriptor_size) == (2, 192)
    assert torch.allclose(output.norm(dim=1), torch.ones(2), atol=1e-5)
    output[:, 0].sum().backward()
    frozen = {id(p) for p in network.vit.parameters()}
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (id(parameter) in frozen), name


def test_a_descriptor_does_not_depend_on_its_batch():
    network = make()
    images = torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"prompts": 0}, "prompts"),
        ({"prompt": 32}, "Unknown parameter 'prompt'"),
        ({"choice": "hard"}, "one of share, log-share"),
        ({"temperature": 0.0}, "temperature"),
        (
            {"projection": "compress", "prompts": 31},
            "cannot share 9 x 384 values among 31",
        ),
    ],
)
def test_a_bad_setting_is_an_error(changes, words):
    with pytest.raises(ConfigError, match=words):
        EfficientVPRConfig.from_dict(changes)


TINY_VIT = VitConfig(patch_size=4, dim=12, depth=3, heads=3, position_grid=2)


def make_scene_vpt():
    torch.manual_seed(0)
    vit = Vit(TINY_VIT)
    for block in vit.blocks:  # as in trained weights: branches that matter
        torch.nn.init.ones_(block.scale1.gain)
        torch.nn.init.ones_(block.scale2.gain)
    return SceneVPT(vit, prompts=4)


def test_kept_share_follows_the_formula():
    model = make_scene_vpt()
    model.gamma.data.fill_(0.3)
    attention = torch.rand(2, 4)
    alpha = model.kept_share(attention)
    assert alpha.shape == (2, 4, 1)
    for b in range(2):
        total = sum(float(a) for a in attention[b])
        for j in range(4):
            expected = 1 / (1 + math.exp(-(float(attention[b, j]) / total - 0.3)))
            assert float(alpha[b, j, 0].detach()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("choice, temperature", [("share", 0.05), ("log-share", 2.0)])
def test_other_forms_of_the_choice(choice, temperature):
    model = SceneVPT(Vit(TINY_VIT), 4, choice, temperature)
    average = model.kept_share(torch.full((1, 4), 0.2))
    torch.testing.assert_close(average, torch.full((1, 4, 1), 0.5))
    attention = torch.tensor([[0.0, 0.1, 0.2, 0.5]])
    share = attention / 0.8
    logits = (share - 0.25) / 0.05 if choice == "share" else (4 * share).log() / 2.0
    alpha = model.kept_share(attention)[..., 0]
    torch.testing.assert_close(alpha, 1 / (1 + (-logits).exp()), atol=1e-3, rtol=0)
    assert alpha.isfinite().all()


def test_only_a_sharper_choice_tells_32_prompts_apart():
    """Attention like a trained network's: 32 logits with a deviation of 1."""
    torch.manual_seed(0)
    attention = torch.randn(100, 32).softmax(dim=1)

    def spread(*form):
        return float(SceneVPT(Vit(TINY_VIT), 32, *form).kept_share(attention).detach().std())

    assert spread() < 0.02
    assert spread("share", 1 / 32) > 0.1
    assert spread("log-share") > 0.1


def test_scene_vpt_step_by_step():
    model = make_scene_vpt()
    vit, image = model.backbone, torch.randn(2, 3, 8, 8)
    x, grid = vit.embed(image)
    x = torch.cat([x[:, :1], model.prompts[0].expand(2, -1, -1), x[:, 1:]], dim=1)
    x, row = vit.blocks[0].forward_with_class_attention(x)
    for block, new in zip(vit.blocks[1:], model.prompts[1:], strict=True):
        alpha = model.kept_share(row[:, 1:5])
        x = torch.cat([x[:, :1], alpha * x[:, 1:5] + (1 - alpha) * new, x[:, 5:]], dim=1)
        x, row = block.forward_with_class_attention(x)
    x = vit.norm(x)
    tokens = model(image)
    assert tokens.grid == grid == (2, 2)
    assert torch.allclose(tokens.class_token, x[:, 0], atol=1e-5)
    assert torch.allclose(tokens.prompts, x[:, 1:5], atol=1e-5)
    assert torch.allclose(tokens.patches, x[:, 5:], atol=1e-5)


def test_prompts_of_every_layer_and_gamma_train():
    model = make_scene_vpt()
    tokens = model(torch.randn(1, 3, 8, 8))
    (tokens.patches.square().sum() + tokens.prompts.square().sum()).backward()
    assert (model.prompts.grad.abs().amax(dim=(1, 2)) > 0).all()
    assert model.gamma.grad.abs() > 0
    assert all(p.grad is None for p in model.backbone.parameters())


def test_prompts_differ_between_scenes():
    prompts = make_scene_vpt()(torch.randn(2, 3, 8, 8)).prompts
    assert not torch.allclose(prompts[0], prompts[1])


def make_tokens(height, width, dim=8):
    return Tokens(torch.randn(2, dim), torch.randn(2, height * width, dim), (height, width))


@pytest.mark.parametrize("height, width", [(8, 8), (5, 7), (3, 4), (19, 19)])
def test_multi_scale_sequence_joins_means_of_squares(height, width):
    features = torch.randn(1, 2, height, width)
    expected = [
        features[:, :, row : row + scale, column : column + scale].mean(dim=(2, 3))
        for scale in SCALES
        for row in range(0, height, scale)
        for column in range(0, width, scale)
    ]
    assert torch.allclose(multi_scale_sequence(features), torch.stack(expected, dim=1), atol=1e-5)


def test_msia_keeps_the_patches_and_sees_the_whole_scene():
    msia = MsIA(8, 2)
    tokens = make_tokens(4, 6)
    assert msia(tokens).shape == (2, 24, 8)
    far = Tokens(tokens.class_token, tokens.patches.clone(), tokens.grid)
    far.patches[:, -1] += 1
    assert not torch.allclose(msia(tokens)[:, 0], msia(far)[:, 0])


def test_remove_component_leaves_nothing_along_the_direction():
    features, direction = torch.randn(2, 8, 3, 5), torch.randn(2, 8)
    left = remove_component(features, direction)
    assert torch.einsum("bchw,bc->bhw", left, direction).abs().max() < 1e-4
    removed = features - left  # and what went is parallel to it
    cosine = torch.cosine_similarity(removed, direction[:, :, None, None], dim=1)
    assert torch.allclose(cosine.abs(), torch.ones_like(cosine), atol=1e-4)


def test_removing_along_zero_changes_nothing():
    features = torch.randn(1, 4, 2, 2)
    assert torch.allclose(remove_component(features, torch.zeros(1, 4)), features)


def test_ole_is_local_in_both_directions():
    ole = OLE(8)
    tokens = make_tokens(4, 6)
    output = ole(tokens)
    assert output.shape == (2, 24, 8)
    assert ole.horizontal.weight.shape == (8, 8, 1, 3)
    assert ole.vertical.weight.shape == (8, 8, 3, 1)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ole.parameters())
