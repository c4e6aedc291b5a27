# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ternary student's start in closed form: weights, order of channels, blocks, head."""

import pytest
import torch
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig, TernaryAttention
from vpr_ros.networks.vit import Vit, VitConfig
from vpr_ros.training.fitted_head import fit_query_pool
from vpr_ros.training.student_fit import centred, fit_student, mix
from vpr_ros.training.ternary_fit import (
    Moments,
    channel_rank,
    fit_layer,
    fit_ternary,
    latent,
    round_best,
)

TINY = {"image_size": 32, "patch_size": 4, "dim": 48, "depth": 2, "heads": 2, "mlp_ratio": 2}
TINY |= {"layout": "dinov2", "scales": "output", "head": "queries"}


def correlated(rows, columns, seed=0):
    """Inputs whose channels have to do with each other, as those of real layers."""
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns // 4, columns, generator=random)
    return torch.randn(rows, columns // 4, generator=random) @ mix + 0.3 * torch.randn(
        rows, columns, generator=random
    )


def error(codes, delta, weight, covariance):
    gap = codes * delta - weight
    return float((gap @ covariance * gap).sum())


def test_fitted_codes_are_much_better_than_rounded_ones():
    x = correlated(2000, 64)
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    covariance = x.T @ x / len(x)
    codes, delta = fit_ternary(weight, covariance)
    assert set(codes.unique().tolist()) == {-1, 0, 1} and delta.shape == (16, 1)
    rounded = error(*round_best(weight, covariance.diagonal()), weight, covariance)
    assert error(codes, delta, weight, covariance) < 0.3 * rounded


def test_no_single_code_can_be_bettered():
    x = correlated(2000, 24)
    weight = torch.randn(4, 24, generator=torch.Generator().manual_seed(2))
    covariance = x.T @ x / len(x)
    codes, delta = fit_ternary(weight, covariance)
    found = error(codes, delta, weight, covariance)
    for output in range(4):
        for column in range(24):
            for code in (-1, 0, 1):
                other = codes.clone()
                other[output, column] = code
                assert error(other, delta, weight, covariance) > found - 1e-3 * found


def test_latent_weights_have_these_codes_and_deltas():
    torch.manual_seed(4)
    weight = torch.randn(8, 96)
    codes = torch.randint(-1, 2, (8, 96)).float()  # not even those of the weights
    delta = torch.rand(8, 1) + 0.5
    layer = SparseTernaryLinear(96, 8, per_output=True)
    layer.weight.data = latent(codes, delta, weight)
    found, scale = layer.ternary()
    assert torch.equal(found, codes)
    assert torch.allclose(scale, delta, rtol=1e-4)


def test_a_layer_is_fitted_to_masked_inputs():
    torch.manual_seed(5)
    x = correlated(40 * 17, 64).reshape(40, 17, 64)
    target = torch.nn.Linear(64, 24)

    def loss(layer, sparsity):
        return float((layer(x, sparsity) - target(x)).detach().square().mean())

    def fitted(*sparsities):
        layer = SparseTernaryLinear(64, 24, per_output=True)
        moments = Moments(64, 24)
        for sparsity in sparsities:
            moments.add(layer.rounded(x, sparsity), target(x).detach())
        fit_layer(layer, moments, target.weight.detach(), 0.01)
        return layer

    dense, sparse = fitted(0.0), fitted(0.6)
    plain = SparseTernaryLinear(64, 24, per_output=True)
    plain.load_state_dict(target.state_dict())
    assert loss(dense, 0.0) < 0.5 * loss(plain, 0.0)
    assert loss(sparse, 0.6) < 0.8 * loss(dense, 0.6)


def teacher(**changes):
    torch.manual_seed(7)
    vit = Vit(VitConfig(**({"dim": 48, "depth": 2, "heads": 2, "mlp_ratio": 2, "patch_size": 4,
                            "position_grid": 8} | changes)))  # fmt: skip
    for block in vit.blocks:
        torch.nn.init.constant_(block.scale1.gain, 0.5)
        torch.nn.init.constant_(block.scale2.gain, 0.5)
    return vit.eval()


def made_images(count):
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(8))
    return F.interpolate(coarse, (32, 32), mode="bilinear")


def nearness(student, vit, images, sparsity):
    with torch.no_grad():
        found, wanted = student.backbone(images, sparsity).patches, vit(images).patches
    mean = wanted.mean(dim=(0, 1))
    return float(F.cosine_similarity(found - mean, wanted - mean, dim=2).mean())


@pytest.mark.parametrize("selection", ["token", "nested"])
def test_a_fitted_student_is_near_its_teacher_at_every_sparsity(selection):
    vit, images = teacher(), made_images(256)
    student = TatVPR(TatVPRConfig.from_dict(TINY | {"selection": selection})).eval()
    said = []
    fit_student(student.backbone, vit, images[:192], (0.0, 0.3, 0.6), said.append)
    assert len(said) == 2
    fresh = [nearness(student, vit, images[192:], s) for s in (0.0, 0.3, 0.6)]
    assert fresh[0] > 0.9 and fresh[2] > 0.7
    assert fresh[0] > fresh[2]  # at 0.3 hardly anything is lost
    dense = TatVPR(TatVPRConfig.from_dict(TINY | {"selection": selection})).eval()
    fit_student(dense.backbone, vit, images[:192], (0.0,), lambda text: None)
    assert nearness(dense, vit, images[192:], 0.6) < fresh[2]


@pytest.mark.parametrize(
    "changes, words",
    [({"layout": "reference"}, "layout 'reference'"), ({"heads": 1}, "heads 1.*heads 2")],
)
def test_a_student_that_cannot_be_fitted_is_refused(changes, words):
    student = TatVPR(TatVPRConfig.from_dict({**TINY, **changes}))
    with pytest.raises(ConfigError, match=words):
        fit_student(student.backbone, teacher(), made_images(32))


def test_a_start_with_too_few_images_for_its_sparsities_is_refused():
    student = TatVPR(TatVPRConfig(**TINY)).backbone
    teacher = Vit(VitConfig(dim=48, heads=2, depth=2, mlp_ratio=2, patch_size=4, position_grid=8))
    with pytest.raises(ConfigError, match="at least 3"):
        fit_student(student, teacher, torch.randn(64, 3, 32, 32), (0.0, 0.3, 0.6))


def test_a_fitted_head_tells_places_apart_across_sparsities():
    torch.manual_seed(9)
    network = TatVPR(TatVPRConfig.from_dict(TINY)).eval()
    fit_student(network.backbone, teacher(), made_images(64), (0.0, 0.6), lambda text: None)
    images = made_images(97)
    scenes, light = images[:96], images[96:]  # falls on every view with another strength
    strength = 1 * torch.randn(288, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    views = scenes.repeat_interleave(3, dim=0) + strength * light
    labels = torch.arange(96).repeat_interleave(3)

    def separation():
        """How far two views of a place are above two places, in deviations of the latter."""
        with torch.no_grad():
            scores = network(views[::3], 0.6) @ network(views[1::3], 0.0).T
        wrong = scores[~torch.eye(96, dtype=torch.bool)]
        return float((scores.diagonal().mean() - wrong.mean()) / wrong.std())

    before = separation()
    fit_query_pool(network.head, network.backbone, [(views, labels)], (0.0, 0.6))
    assert separation() > 1.2 * before


def test_other_heads_have_no_closed_form():
    network = TatVPR(TatVPRConfig.from_dict({**TINY, "head": "gem"}))
    with pytest.raises(ConfigError, match="GeMHead has no closed form"):
        fit_query_pool(network.head, network.backbone, [], (0.0,))


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

        config = TatVPRConfig(dim=12, heads=2, layout="dinov2", selection="nested")
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
