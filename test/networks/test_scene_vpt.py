# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scene-aware prompts: the mixing formula, the frozen backbone, the VPT-deep switch."""

import math

import pytest
import torch

from vpr_ros.networks.scene_vpt import SceneVPT
from vpr_ros.networks.vit import Vit, VitConfig

TINY = VitConfig(patch_size=4, dim=12, depth=3, heads=3, position_grid=2)


def make(adaptive=True):
    torch.manual_seed(0)
    vit = Vit(TINY)
    for block in vit.blocks:  # as in trained weights: branches that matter
        torch.nn.init.ones_(block.scale1.gain)
        torch.nn.init.ones_(block.scale2.gain)
    return SceneVPT(vit, prompts=4, adaptive=adaptive)


def test_mix_follows_the_formula():
    model = make()
    model.gamma.data.fill_(0.3)
    previous, new, attention = torch.randn(2, 4, 12), torch.randn(4, 12), torch.rand(2, 4)
    mixed = model.mix(previous, new, attention)
    for b in range(2):
        total = sum(float(a) for a in attention[b])
        for j in range(4):
            alpha = 1 / (1 + math.exp(-(float(attention[b, j]) / total - 0.3)))
            expected = alpha * previous[b, j] + (1 - alpha) * new[j]
            assert torch.allclose(mixed[b, j], expected, atol=1e-6)


def test_forward_step_by_step():
    model = make()
    vit, image = model.backbone, torch.randn(2, 3, 8, 8)
    x, grid = vit.embed(image)
    x = torch.cat([x[:, :1], model.prompts[0].expand(2, -1, -1), x[:, 1:]], dim=1)
    x, row = vit.blocks[0].forward_watched(x)
    for block, new in zip(vit.blocks[1:], model.prompts[1:], strict=True):
        x = torch.cat([x[:, :1], model.mix(x[:, 1:5], new, row[:, 1:5]), x[:, 5:]], dim=1)
        x, row = block.forward_watched(x)
    x = vit.norm(x)
    tokens = model(image)
    assert tokens.grid == grid == (2, 2)
    assert torch.allclose(tokens.class_token, x[:, 0], atol=1e-5)
    assert torch.allclose(tokens.prompts, x[:, 1:5], atol=1e-5)
    assert torch.allclose(tokens.patches, x[:, 5:], atol=1e-5)


@pytest.mark.parametrize("adaptive", [True, False])
def test_only_prompts_train(adaptive):
    model = make(adaptive)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names == ({"prompts", "gamma"} if adaptive else {"prompts"})
    tokens = model(torch.randn(1, 3, 8, 8))
    (tokens.patches.square().sum() + tokens.prompts.square().sum()).backward()
    assert (model.prompts.grad.abs().amax(dim=(1, 2)) > 0).all()  # every layer's
    if adaptive:
        assert model.gamma.grad.abs() > 0
    assert all(p.grad is None for p in model.backbone.parameters())


def test_vpt_deep_forgets_prompts_and_scene_vpt_does_not():
    image = torch.randn(1, 3, 8, 8)
    assert not torch.allclose(make(True)(image).class_token, make(False)(image).class_token)


def test_prompts_differ_between_scenes():
    prompts = make()(torch.randn(2, 3, 8, 8)).prompts
    assert not torch.allclose(prompts[0], prompts[1])


def test_reference_has_the_published_number_of_prompt_values():
    with torch.device("meta"):
        assert SceneVPT(Vit(VitConfig()), 32).prompts.numel() == 147_456
