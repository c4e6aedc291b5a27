# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled int8 layer against codes and sums made with numpy."""

import numpy as np
import pytest
import torch

from vpr_ros.networks.sparse_ternary_linear import int8_codes

SIZES = [(256, 192, 50), (384, 100, 7), (65, 7, 1), (1, 1, 2), (3, 130, 49), (513, 33, 100)]


def expected(weight, scale, x):
    codes, step = int8_codes(torch.from_numpy(x))
    sums = codes.numpy().astype(np.int64) @ weight.astype(np.int64)
    return sums * step.numpy().astype(np.float64) * scale


def assert_same(actual, wanted):
    np.testing.assert_allclose(actual, wanted, rtol=2e-6, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("inputs, outputs, rows", SIZES)
@pytest.mark.parametrize("span", [64, 128], ids=["seven bits", "eight bits"])
def test_as_numpy(kernels, inputs, outputs, rows, span):
    rng = np.random.default_rng(inputs)
    weight = rng.integers(-span, span, (inputs, outputs)).astype(np.int8)
    scale = rng.random(outputs).astype(np.float32)
    x = rng.standard_normal((rows, inputs)).astype(np.float32)
    wanted = expected(weight, scale, x)
    for isa in kernels.isas:
        for threads in (1, 2):
            assert_same(kernels.int8(weight, scale, x, isa, threads), wanted)


def test_largest_numbers_do_not_overflow(kernels):
    """Every product is the largest there is: where pairs are added in 16 bits, this shows."""
    x = np.ones((3, 4096), dtype=np.float32)
    for weight_code in (-128, -65, -64, 64, 65, 127):
        weight = np.full((4096, 17), weight_code, dtype=np.int8)
        for isa in kernels.isas:
            for sign in (-1, 1):
                y = kernels.int8(weight, np.ones(17), sign * x, isa)
                assert_same(y, np.full((3, 17), sign * 4096 * weight_code))


def test_epilogue(kernels):
    rng = np.random.default_rng(3)
    weight = rng.integers(-128, 128, (70, 90)).astype(np.int8)
    scale, bias = rng.random(90).astype(np.float32) / 100, rng.standard_normal(90)
    x, residual = rng.standard_normal((9, 70)).astype(np.float32), rng.standard_normal((9, 90))
    product = torch.from_numpy(expected(weight, scale, x) + bias)
    wanted = torch.nn.functional.gelu(product).numpy() + residual
    for isa in kernels.isas:
        y = kernels.int8(weight, scale, x, isa, bias=bias, gelu=True, residual=residual)
        np.testing.assert_allclose(y, wanted, atol=2e-5)


@pytest.mark.parametrize("largest", [64, 127], ids=["narrow", "wide"])
def test_instruction_sets_agree(kernels, largest):
    rng = np.random.default_rng(4)
    weight = rng.integers(-largest, largest + 1, (300, 150)).astype(np.int8)
    scale = rng.random(150).astype(np.float32)
    x = rng.standard_normal((31, 300)).astype(np.float32)
    wanted = kernels.int8(weight, scale, x, "scalar")
    for isa in kernels.isas[1:]:
        np.testing.assert_array_equal(kernels.int8(weight, scale, x, isa), wanted)


@pytest.mark.parametrize("weight_code", [1, 100])
def test_what_is_not_finite_stays_in_its_row(kernels, weight_code):
    x = np.ones((4, 33), dtype=np.float32)
    x[2, 5] = np.inf
    for isa in kernels.isas:
        y = kernels.int8(np.full((33, 5), weight_code), np.ones(5), x, isa)
        assert np.isnan(y[2]).all()
        np.testing.assert_allclose(y[[0, 1, 3]], 33 * weight_code)
