# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled attention against softmax in float64.

On general inputs the bound is what rounding to int8 costs; where codes are exact, it is float32's.
"""

import numpy as np
import pytest

SHAPES = [  # queries, keys, heads, head size
    (197, 197, 2, 64), (50, 50, 3, 32), (1, 130, 2, 48), (7, 3, 1, 96), (64, 65, 2, 20),
    (5, 1, 1, 1), (13, 70, 2, 130),
]  # fmt: skip


def expected(q, k, v, heads):
    def split(x):
        batch, rows, _ = x.shape
        return x.astype(np.float64).reshape(batch, rows, heads, -1).transpose(0, 2, 1, 3)

    q, k, v = split(q), split(k), split(v)
    logits = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    y = weights / weights.sum(axis=-1, keepdims=True) @ v
    batch, _, queries, _ = y.shape
    return y.transpose(0, 2, 1, 3).reshape(batch, queries, -1)


@pytest.mark.parametrize("queries, keys, heads, size", SHAPES)
def test_near_float_attention(kernels, queries, keys, heads, size):
    rng = np.random.default_rng(queries)
    q = rng.standard_normal((2, queries, heads * size)).astype(np.float32)
    k, v = (rng.standard_normal((2, keys, heads * size)).astype(np.float32) for _ in range(2))
    wanted = expected(q, k, v, heads)
    for isa in kernels.isas:
        for threads in (1, 2):
            y = kernels.attention(q, k, v, heads, isa, threads)
            error = np.linalg.norm(y - wanted) / np.linalg.norm(wanted)
            assert error < 0.03, f"{isa}: {error}"


def test_scores_are_exact_where_codes_are(kernels):
    """One key is far ahead of the others for each query, so y is its value exactly."""
    size = 64
    rng = np.random.default_rng(2)
    chosen = rng.integers(0, 90, 40)
    k = rng.choice([-1.0, 1.0], (1, 90, size)).astype(np.float32) * 4
    q = k[:, chosen]
    v = np.zeros((1, 90, size), dtype=np.float32)
    v[0] = rng.integers(-127, 128, (90, size))
    v[0, 0] = 127  # a scale of 1 in every channel
    for isa in kernels.isas:
        y = kernels.attention(q, k, v, 1, isa)
        np.testing.assert_allclose(y[0], v[0, chosen], rtol=1e-6)


def test_equal_keys_give_the_mean(kernels):
    rng = np.random.default_rng(3)
    q = rng.standard_normal((1, 9, 32)).astype(np.float32)
    k = np.ones((1, 77, 32), dtype=np.float32)
    v = rng.integers(-127, 128, (1, 77, 32)).astype(np.float32)
    v[0, 5] = 127
    for isa in kernels.isas:
        y = kernels.attention(q, k, v, 2, isa)
        np.testing.assert_allclose(y, np.broadcast_to(v.mean(axis=1), y.shape), atol=1e-4)


def test_columns_of_one_packed_array(kernels):
    rng = np.random.default_rng(4)
    qkv = rng.standard_normal((3, 21, 3 * 96)).astype(np.float32)
    parts = [qkv[..., i * 96 : (i + 1) * 96] for i in range(3)]
    for isa in kernels.isas:
        y = kernels.attention(*parts, 3, isa)
        apart = kernels.attention(*(np.ascontiguousarray(part) for part in parts), 3, isa)
        np.testing.assert_array_equal(y, apart)


def test_instruction_sets_agree(kernels):
    """Not bit for bit: a share of the softmax may round to the neighbouring 254th."""
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((1, 70, 128)).astype(np.float32) for _ in range(3))
    wanted = kernels.attention(q, k, v, 2, "scalar")
    for isa in kernels.isas[1:]:
        y = kernels.attention(q, k, v, 2, isa)
        assert np.abs(y - wanted).max() < 5e-3


@pytest.mark.parametrize("keys", [197, 562])
def test_many_small_shares_beside_a_large_one(kernels, keys):
    """Each is below 1/508 of the largest, together they are as much: none may be lost."""
    rng = np.random.default_rng(7)
    q = rng.standard_normal((1, 40, 64)).astype(np.float32)
    k = rng.standard_normal((1, keys, 64)).astype(np.float32)
    v = (rng.standard_normal((1, keys, 64)) + rng.standard_normal(64)).astype(np.float32)
    away = q.mean(axis=1)[0]
    q += 4 * away
    k -= np.outer(k[0] @ away, away) / (away @ away)  # a logit of about 0,
    k[0, 0] = 0
    lead = (q[0] @ away).mean() / 8
    k[0, 0] += away * np.log(keys) / lead * 1.2  # but of one
    wanted = expected(q, k, v, 1)
    for isa in kernels.isas:
        y = kernels.attention(q, k, v, 1, isa)
        error = np.linalg.norm(y - wanted) / np.linalg.norm(wanted)
        assert error < 0.01, f"{isa}: {error}"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_where_it_belongs(kernels, value):
    rng = np.random.default_rng(6)
    q, k, v = (rng.standard_normal((2, 10, 64)).astype(np.float32) for _ in range(3))
    for isa in kernels.isas:
        whole = kernels.attention(q, k, v, 2, isa)
        broken = q.copy()
        broken[1, 4, 40] = value
        y = kernels.attention(broken, k, v, 2, isa)
        wanted = whole.copy()
        wanted[1, 4, 32:] = np.nan
        np.testing.assert_array_equal(y, wanted)
        broken = k.copy()
        broken[0, 9, 0] = value
        wanted = whole.copy()
        wanted[0, :, :32] = np.nan
        np.testing.assert_array_equal(kernels.attention(q, broken, v, 2, isa), wanted)
        broken = v.copy()
        broken[0, 9, 0] = value
        np.testing.assert_array_equal(kernels.attention(q, k, broken, 2, isa), wanted)


def test_huge_logits_are_not_a_number_and_do_not_crash(kernels):
    q = np.full((1, 3, 16), 1e30, dtype=np.float32)
    for isa in kernels.isas:
        assert np.isnan(kernels.attention(q, q, np.ones_like(q), 1, isa)).all()


def test_zeros(kernels):
    zeros = np.zeros((1, 5, 32), dtype=np.float32)
    for isa in kernels.isas:
        np.testing.assert_array_equal(kernels.attention(zeros, zeros, zeros, 1, isa), zeros)


def test_refusals(kernels):
    x = np.ones((1, 4, 8), dtype=np.float32)
    empty = np.ones((1, 0, 8), dtype=np.float32)
    with pytest.raises(ValueError, match="0 keys; heads, channels and keys must be at least 1"):
        kernels.attention(x, empty, empty, 1, "scalar")
