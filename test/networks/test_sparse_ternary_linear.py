# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ternary weights, int8 activations and masks in one layer, recomputed with plain loops."""

import math

import pytest
import torch

from vpr_ros.networks.sparse_ternary_linear import (
    SparseTernaryLinear,
    int8_codes,
    kept_channels,
    largest_channels,
    straight_through,
    ternary_codes,
)


def make_layer(**options):
    torch.manual_seed(1)
    return SparseTernaryLinear(8, 6, **options)


def test_ternary_codes_by_loops():
    torch.manual_seed(0)
    weight = torch.randn(5, 7)
    codes, delta = ternary_codes(weight)
    mean = sum(abs(float(w)) for w in weight.flatten()) / 35
    assert float(delta) == pytest.approx(1e-5 + mean)
    for w, code in zip(weight.flatten(), codes.flatten(), strict=True):
        ratio = float(w) / (1e-5 + mean)
        assert float(code) == (0 if abs(ratio) <= 0.5 else (1 if ratio > 0 else -1))
    assert set(codes.flatten().tolist()) == {-1.0, 0.0, 1.0}


def test_zero_weights_stay_zero():
    codes, _ = ternary_codes(torch.zeros(3, 3))
    assert codes.abs().max() == 0


def test_int8_codes_by_loops():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9)
    codes, scale = int8_codes(x)
    for b in range(2):
        for t in range(3):
            peak = float(x[b, t].abs().max())
            assert float(scale[b, t, 0]) == pytest.approx(peak / 127)
            for c in range(9):
                assert float(codes[b, t, c]) == round(float(x[b, t, c]) * 127 / peak)
    assert codes.abs().max() == 127
    assert int8_codes(torch.zeros(1, 1, 4))[0].abs().max() == 0


@pytest.mark.parametrize("sparsity", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("channels", [5, 10, 192, 384, 768, 1536, 3072])
def test_kept_channels_is_the_exact_ceiling(sparsity, channels):
    tenths = round(10 * sparsity)
    exact = -(-(10 - tenths) * channels // 10)
    assert kept_channels(sparsity, channels) == exact
    assert kept_channels(torch.tensor(sparsity), channels) == exact


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.4, 0.7, 0.95])
def test_largest_channels_by_loops(sparsity):
    torch.manual_seed(0)
    x = torch.randint(-9, 10, (2, 31, 10)).float()  # with many ties
    count = math.ceil(round((1 - sparsity) * 10, 4))
    found = largest_channels(x, sparsity)
    for b in range(2):
        for t in range(31):
            best = sorted(range(10), key=lambda c: (-abs(float(x[b, t, c])), c))[:count]
            assert found[b, t].nonzero().flatten().tolist() == sorted(best)


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("sparsity", [0.0, 0.4])
def test_output_by_loops(int8, sparsity):
    layer = make_layer(int8=int8)
    x = torch.randn(2, 5, 8)
    codes, scale = int8_codes(x) if int8 else (x, torch.ones(2, 5, 1))
    mask = largest_channels(codes, sparsity)
    signs, delta = ternary_codes(layer.weight.detach())
    output = layer(x, sparsity).detach()
    for b in range(2):
        for t in range(5):
            for o in range(6):
                total = sum(float(codes[b, t, c] * mask[b, t, c] * signs[o, c]) for c in range(8))
                expected = total * float(scale[b, t, 0] * delta) + float(layer.bias.detach()[o])
                assert float(output[b, t, o]) == pytest.approx(expected, abs=1e-5)


def test_sparsity_may_be_a_tensor_and_zero_is_dense():
    layer = make_layer()
    x = torch.randn(1, 5, 8)
    dense = layer(x, 0.0)
    assert torch.equal(layer(x, torch.tensor(0.0)), dense)
    assert torch.equal(layer(x, torch.tensor(0.5)), layer(x, 0.5))
    assert not torch.equal(layer(x, 0.5), dense)


def test_gradients_pass_straight_through():
    layer = make_layer()
    x = torch.randn(1, 5, 8, requires_grad=True)
    layer(x, 0.5).sum().backward()
    signs, delta = ternary_codes(layer.weight.detach())
    # As if y = x_used W_t + b with identity from x to x_used and from W to W_t.
    assert torch.allclose(x.grad, (signs * delta).sum(dim=0).expand(1, 5, 8))
    codes, scale = int8_codes(x.detach())
    used = codes * largest_channels(codes, 0.5) * scale
    assert torch.allclose(layer.weight.grad, used.sum(dim=(0, 1)).expand(6, 8), atol=1e-6)
    assert torch.equal(layer.bias.grad, torch.full((6,), 5.0))


def test_straight_through_rounds_nothing():
    source = torch.tensor([1e6, 3.0], requires_grad=True)
    value = torch.tensor([1e-6, 1.0 / 3.0])
    assert torch.equal(straight_through(value, source), value)


def test_a_delta_for_every_output():
    torch.manual_seed(3)
    layer = SparseTernaryLinear(8, 5, per_output=True)
    layer.weight.data *= torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0])[:, None]
    signs, delta = (part.detach() for part in layer.ternary())
    assert delta.shape == (5, 1)
    for output in range(5):
        alone, own = ternary_codes(layer.weight.detach()[output : output + 1])
        assert torch.equal(signs[output : output + 1], alone)
        assert float(delta[output]) == pytest.approx(float(own))
    x = torch.randn(1, 4, 8)
    codes, scale = int8_codes(x)
    wanted = codes * scale @ (signs * delta).T + layer.bias
    assert torch.allclose(layer(x, 0.0), wanted, atol=1e-5)


def test_a_nested_layer_keeps_the_first_of_its_order_and_rounds_what_is_left():
    layer = make_layer(nested=True)
    layer.rank.copy_(torch.tensor([7, 0, 3, 1, 6, 2, 5, 4]))
    x = torch.randn(2, 5, 8)
    x[..., 0] = 1e3  # ranks last: its size must not coarsen the codes of the others
    for sparsity, kept in [(0.0, range(8)), (0.4, [1, 2, 3, 5, 7]), (0.6, [1, 2, 3, 5])]:
        alone = torch.zeros_like(x)
        alone[..., kept] = x[..., kept]
        codes, scale = int8_codes(alone)
        assert torch.equal(layer.rounded(x, sparsity), codes * scale)
        signs, delta = ternary_codes(layer.weight.detach())
        wanted = (codes * scale) @ (signs * delta).T + layer.bias
        assert torch.allclose(layer(x, sparsity), wanted, atol=1e-4)
        assert torch.equal(layer(x, torch.tensor(sparsity)), layer(x, sparsity))


def test_an_order_is_saved_and_gradients_pass_it():
    layer, other = make_layer(nested=True), make_layer(nested=True)
    layer.rank.copy_(torch.arange(7, -1, -1))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.rank, layer.rank)
    assert "rank" not in make_layer().state_dict()
    x = torch.randn(1, 5, 8, requires_grad=True)
    layer(x, 0.5).sum().backward()
    signs, delta = ternary_codes(layer.weight.detach())
    assert torch.allclose(x.grad, (signs * delta).sum(dim=0).expand(1, 5, 8))
