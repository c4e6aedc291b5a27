# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled nested layer against the torch layer that the networks are trained with."""

import numpy as np
import pytest
import torch

from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear, kept_channels

SPARSITIES = [0.0, 0.2, 0.4, 0.6, 0.999]
SIZES = [(256, 192), (65, 7), (63, 64), (1, 1), (3, 130), (257, 100)]


def layer_of(inputs, outputs, prefix=False):
    layer = SparseTernaryLinear(inputs, outputs, nested=True, per_output=True)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))
        if not prefix:
            layer.rank.copy_(torch.randperm(inputs))
    return layer


def arguments(layer):
    codes, delta = (part.detach().numpy() for part in layer.ternary())
    return {
        "codes": codes.T.astype(np.int8),
        "rank": layer.rank.numpy(),
        "delta": 1.0,
        "output_delta": delta[:, 0],
        "bias": layer.bias.detach().numpy(),
    }


def assert_same(actual, wanted):
    """Equal up to float32 rounding of sums of a few hundred terms."""
    np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_as_torch(kernels, sparsity, prefix):
    torch.manual_seed(int(10 * sparsity))
    for inputs, outputs in SIZES:
        layer = layer_of(inputs, outputs, prefix)
        for rows, threads in [(1, 1), (43, 1), (70, 2)]:
            x = torch.randn(1, rows, inputs) * torch.rand(inputs) * 3
            with torch.no_grad():
                wanted = layer(x, sparsity)[0].numpy()
            for isa in kernels.isas:
                y = kernels.nested(
                    **arguments(layer), x=x[0].numpy(), sparsity=sparsity, isa=isa,
                    threads=threads,
                )  # fmt: skip
                assert_same(y, wanted)


@pytest.mark.parametrize("outputs", [200, 64, 4])
def test_slim_layers_compute_what_the_next_one_keeps(kernels, outputs):
    torch.manual_seed(3)
    layer = layer_of(96, outputs)
    x = torch.randn(1, 33, 96)
    for sparsity in SPARSITIES:
        with torch.no_grad():
            wanted = torch.nn.functional.gelu(layer(x, sparsity))[0].numpy()
        kept = outputs if sparsity == 0 else kept_channels(sparsity, outputs)
        for isa in kernels.isas:
            y = kernels.nested(
                **arguments(layer), x=x[0].numpy(), sparsity=sparsity, isa=isa, gelu=True,
                slim=True,
            )  # fmt: skip
            assert_same(y[:, :kept], wanted[:, :kept])
            assert not y[:, kept:].any()


@pytest.mark.parametrize("scale", [1e30, 3e38, 1e-6, 1e-30, 1e-44])
def test_huge_and_tiny_activations(kernels, scale):
    torch.manual_seed(7)
    layer = layer_of(128, 64)
    x = (torch.rand(1, 9, 128) * 2 - 1) * scale
    x[:, 3] = torch.rand(128)  # next to an ordinary token
    for sparsity in (0.0, 0.4):
        with torch.no_grad():
            wanted = layer(x, sparsity)[0].double().numpy()
        for isa in kernels.isas:
            y = kernels.nested(
                **arguments(layer), x=x[0].numpy(), sparsity=sparsity, isa=isa
            ).astype(np.float64)
            for token in range(9):
                if np.isfinite(wanted[token]).all():
                    assert_same(y[token], wanted[token])


def test_zeros_give_the_bias(kernels):
    layer = layer_of(70, 33)
    for isa in kernels.isas:
        for sparsity in SPARSITIES:
            y = kernels.nested(**arguments(layer), x=np.zeros((8, 70)), sparsity=sparsity, isa=isa)
            np.testing.assert_array_equal(y, np.tile(layer.bias.detach().numpy(), (8, 1)))


def test_gelu_is_the_erf_form(kernels):
    """One input of weight 1: y = gelu(x) over the range where it bends."""
    x = np.linspace(-9, 9, 40_000, dtype=np.float32)[:, None]
    wanted = torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    for isa in kernels.isas:
        y = kernels.nested(np.ones((1, 1), np.int8), [0], x, 1.0, 0.0, isa, gelu=True)
        assert np.abs(y - wanted).max() < 1e-6


def test_residual_and_gelu(kernels):
    torch.manual_seed(4)
    layer = layer_of(96, 76)
    x, residual = torch.randn(1, 10, 96), torch.randn(10, 76)
    with torch.no_grad():
        wanted = torch.nn.functional.gelu(layer(x, 0.4))[0] + residual
    for isa in kernels.isas:
        y = kernels.nested(
            **arguments(layer), x=x[0].numpy(), sparsity=0.4, isa=isa, gelu=True,
            residual=residual.numpy(),
        )  # fmt: skip
        assert_same(y, wanted.numpy())


def test_instruction_sets_agree(kernels):
    rng = np.random.default_rng(10)
    codes = rng.integers(-1, 2, (515, 76)).astype(np.int8)
    rank, bias = rng.permutation(515), rng.standard_normal(76)
    x = rng.standard_normal((100, 515)).astype(np.float32)
    for sparsity in SPARSITIES:
        wanted = kernels.nested(codes, rank, x, 0.3, sparsity, "scalar", bias=bias)
        for isa in kernels.isas[1:]:
            y = kernels.nested(codes, rank, x, 0.3, sparsity, isa, bias=bias)
            np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row_and_is_dropped_with_its_channel(kernels, value):
    rng = np.random.default_rng(8)
    codes = rng.integers(-1, 2, (80, 48)).astype(np.int8)
    rank = np.arange(80)[::-1]  # channel 79 is kept longest
    x = rng.standard_normal((6, 80)).astype(np.float32)
    for channel, spoiled in [(79, True), (0, False)]:
        broken = x.copy()
        broken[2, channel] = value
        for isa in kernels.isas:
            y = kernels.nested(codes, rank, broken, 0.5, 0.4, isa)
            wanted = kernels.nested(codes, rank, x, 0.5, 0.4, isa)
            others = [0, 1, 3, 4, 5]
            np.testing.assert_array_equal(y[others], wanted[others])
            assert np.isnan(y[2]).all() if spoiled else (y[2] == wanted[2]).all()


def test_refusals(kernels):
    codes, x = np.ones((4, 4), dtype=np.int8), np.ones((1, 4), dtype=np.float32)
    for rank, word in [([0, 1, 1, 2], "Rank 1"), ([0, 1, 2, 4], "Rank 4"), ([-1, 0, 1, 2], "-1")]:
        with pytest.raises(ValueError, match=f"{word} is out of range or appears twice.*0 to 3"):
            kernels.nested(codes, rank, x, 1.0, 0.4, "scalar")
    with pytest.raises(ValueError, match="channel 0, output 0 is 3"):
        kernels.nested(np.full((4, 4), 2, np.int8), range(4), x, 1.0, 0.4, "scalar")
    with pytest.raises(ValueError, match="No instruction set 'mmx' here"):
        kernels.nested(codes, range(4), x, 1.0, 0.4, "mmx")
