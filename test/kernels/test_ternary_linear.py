# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled ternary layer against the torch layer that the networks are trained with."""

import numpy as np
import pytest
import torch

from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.ternary import ternary_codes
from vpr_ros.networks.tiles import Tiles, token_tiles

SPARSITIES = [0.0, 0.2, 0.4, 0.6]
SIZES = [(256, 192), (65, 7), (63, 64), (1, 1), (3, 130), (257, 100)]


def layer_of(inputs, outputs, bias=True):
    layer = SparseTernaryLinear(inputs, outputs, bias=bias)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))
    codes, delta = ternary_codes(layer.weight)
    return layer, codes.detach().numpy().astype(np.int8).T.copy(), float(delta.detach())


def expected(layer, x, sparsity, tiles):
    with torch.no_grad():
        return layer(x, sparsity, tiles).numpy()


def assert_same(actual, wanted):
    """Equal up to float32 rounding of sums of a few hundred terms."""
    np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("tile", ["1x1", "4x4", "image"])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_as_torch(kernels, sparsity, tile):
    torch.manual_seed(int(10 * sparsity))
    tiles = token_tiles((6, 7), tile)
    for inputs, outputs in SIZES:
        layer, codes, delta = layer_of(inputs, outputs)
        for batch, threads in [(1, 1), (3, 2)]:
            x = torch.randn(batch, 43, inputs) * torch.rand(inputs) * 3
            wanted = expected(layer, x, sparsity, tiles)
            for isa in kernels.isas:
                actual = kernels.ternary(
                    codes, tiles.of_token, x.numpy(), delta, sparsity, isa, threads,
                    bias=layer.bias.detach().numpy(),
                )  # fmt: skip
                assert_same(actual, wanted)


@pytest.mark.parametrize("tile", ["1x1", "2x3", "image"])
def test_selection_is_torchs_bit_for_bit(kernels, tile):
    """Weights that copy the input: y shows every code and every channel left out."""
    torch.manual_seed(5)
    inputs = 192
    tiles = token_tiles((5, 5), tile)
    layer = SparseTernaryLinear(inputs, inputs, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(inputs))
    codes, delta = ternary_codes(layer.weight)
    codes, delta = codes.detach().numpy().astype(np.int8), float(delta.detach())
    # Half of the tokens have few distinct values, so that most places are decided by ties.
    x = torch.randn(2, 26, inputs)
    x[:, ::2] = (x[:, ::2] * 2).round()
    for sparsity in [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 0.999]:
        wanted = expected(layer, x, sparsity, tiles)
        for isa in kernels.isas:
            y = kernels.ternary(codes, tiles.of_token, x.numpy(), delta, sparsity, isa)
            np.testing.assert_array_equal(y != 0, wanted != 0)
            np.testing.assert_allclose(y, wanted, rtol=1e-6)


def test_ties_go_to_the_lower_index(kernels):
    x = np.ones((1, 5, 70), dtype=np.float32)
    eye = np.eye(70, dtype=np.int8)
    for isa in kernels.isas:
        for tiles in ([0, 1, 2, 3, 4], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]):
            y = kernels.ternary(eye, tiles, x, 1.0, 0.5, isa)
            np.testing.assert_array_equal(y, np.tile(np.arange(70) < 35, (1, 5, 1)))


def test_tiles_of_any_numbers_and_order(kernels):
    torch.manual_seed(6)
    of_token = torch.tensor([2, 0, 2, 1, 1, 0, 2, 4, 2])
    layer, codes, delta = layer_of(96, 40, bias=False)
    x = torch.randn(2, 9, 96)
    wanted = expected(layer, x, 0.4, Tiles(of_token, 5))
    for isa in kernels.isas:
        assert_same(kernels.ternary(codes, of_token, x.numpy(), delta, 0.4, isa), wanted)


@pytest.mark.parametrize("scale", [1e30, 3e38, 1e-6, 1e-30, 1e-44])
@pytest.mark.parametrize("sparsity", [0.0, 0.4])
def test_huge_and_tiny_activations(kernels, scale, sparsity):
    torch.manual_seed(7)
    tiles = token_tiles((2, 4), "2x2")
    layer, codes, delta = layer_of(128, 64)
    x = torch.rand(1, 9, 128) * 2 - 1
    x = x * scale
    x[:, 3] = torch.rand(128)  # beside a usual token
    bias = layer.bias.detach().numpy()
    wanted = expected(layer, x, sparsity, tiles).astype(np.float64)
    for isa in kernels.isas:
        y = kernels.ternary(codes, tiles.of_token, x.numpy(), delta, sparsity, isa, bias=bias)
        for token in range(9):
            if np.isfinite(wanted[0, token]).all():
                assert_same(y[0, token].astype(np.float64), wanted[0, token])


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_zeros_give_the_bias(kernels, sparsity):
    layer, codes, delta = layer_of(70, 33)
    bias = layer.bias.detach().numpy()
    x = np.zeros((2, 4, 70), dtype=np.float32)
    for isa in kernels.isas:
        y = kernels.ternary(codes, [0, 0, 1, 1], x, delta, sparsity, isa, bias=bias)
        np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_token(kernels, value):
    rng = np.random.default_rng(8)
    codes = rng.integers(-1, 2, (80, 48)).astype(np.int8)
    x = rng.standard_normal((1, 6, 80)).astype(np.float32)
    broken = x.copy()
    broken[0, 2, 17] = value
    quiet = x.copy()
    quiet[0, 2] = 0  # no votes either
    tiles = [0, 1, 1, 1, 2, 2]
    for isa in kernels.isas:
        for sparsity in (0.0, 0.4):
            y = kernels.ternary(codes, tiles, broken, 0.5, sparsity, isa)
            assert np.isnan(y[0, 2]).all()
            wanted = kernels.ternary(codes, tiles, quiet, 0.5, sparsity, isa)
            others = [0, 1, 3, 4, 5]
            np.testing.assert_array_equal(y[0, others], wanted[0, others])


def test_activation_and_residual(kernels):
    torch.manual_seed(9)
    tiles = token_tiles((3, 3), "2x2")
    layer, codes, delta = layer_of(96, 75)
    x, residual = torch.randn(2, 10, 96), torch.randn(2, 10, 75)
    product = torch.from_numpy(expected(layer, x, 0.4, tiles))
    wanted = (torch.nn.functional.gelu(product) + residual).numpy()
    for isa in kernels.isas:
        y = kernels.ternary(
            codes, tiles.of_token, x.numpy(), delta, 0.4, isa,
            bias=layer.bias.detach().numpy(), gelu=True, residual=residual.numpy(),
        )  # fmt: skip
        assert_same(y, wanted)


def test_gelu_is_the_erf_form(kernels):
    """One input of weight 1: y = gelu(x) over the range where it bends."""
    x = np.linspace(-9, 9, 40_000, dtype=np.float32).reshape(1, -1, 1)
    wanted = torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    one = np.ones((1, 1), dtype=np.int8)
    tiles = np.zeros(x.shape[1])
    for isa in kernels.isas:
        y = kernels.ternary(one, tiles, x, 1.0, 0.0, isa, gelu=True)
        assert np.abs(y - wanted).max() < 1e-6


def test_instruction_sets_agree(kernels):
    """Integers are equal; scale and bias are one product and one sum everywhere, so y is too."""
    rng = np.random.default_rng(10)
    codes = rng.integers(-1, 2, (515, 77)).astype(np.int8)
    x = rng.standard_normal((2, 50, 515)).astype(np.float32)
    bias = rng.standard_normal(77).astype(np.float32)
    for tiles in (np.arange(50), np.arange(50) // 7, np.zeros(50)):
        for sparsity in SPARSITIES:
            wanted = kernels.ternary(codes, tiles, x, 0.3, sparsity, "scalar", bias=bias)
            for isa in kernels.isas[1:]:
                y = kernels.ternary(codes, tiles, x, 0.3, sparsity, isa, bias=bias)
                np.testing.assert_array_equal(y, wanted)


def test_an_image_does_not_depend_on_its_batch(kernels):
    rng = np.random.default_rng(11)
    codes = rng.integers(-1, 2, (256, 96)).astype(np.int8)
    x = rng.standard_normal((3, 17, 256)).astype(np.float32)
    tiles = np.arange(17) // 3
    for isa in kernels.isas:
        together = kernels.ternary(codes, tiles, x, 1.0, 0.4, isa, threads=2)
        alone = [kernels.ternary(codes, tiles, x[i : i + 1], 1.0, 0.4, isa) for i in range(3)]
        np.testing.assert_array_equal(together, np.concatenate(alone))


def test_refusals(kernels):
    codes = np.ones((8, 4), dtype=np.int8)
    x = np.ones((1, 5, 8), dtype=np.float32)
    with pytest.raises(ValueError, match="tiles are of 4 tokens, the input has 5"):
        kernels.ternary(codes, [0, 0, 1, 1], x, 1.0, 0.4, "scalar")
    assert kernels.ternary(codes, [0, 0, 1, 1], x, 1.0, 0.0, "scalar")[0, 0, 0] == 8
    with pytest.raises(ValueError, match="Token 1 is in tile -2"):
        kernels.ternary(codes, [0, -2, 1, 1, 1], x, 1.0, 0.4, "scalar")
    with pytest.raises(ValueError, match="channel 0, output 0 is 3"):
        kernels.ternary(np.full((8, 4), 2, dtype=np.int8), [0] * 5, x, 1.0, 0.4, "scalar")
    with pytest.raises(ValueError, match="'mmx' is not available"):
        kernels.ternary(codes, [0] * 5, x, 1.0, 0.4, "mmx")
