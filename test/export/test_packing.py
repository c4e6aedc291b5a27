# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two-bit packing, bit by bit."""

import numpy as np
import pytest

from vpr_ros.core.errors import ModelError
from vpr_ros.export.packing import pack_ternary, squeeze, unpack_ternary, unsqueeze


def test_every_code_stands_at_its_bits():
    codes = np.random.default_rng(0).integers(-1, 2, (5, 12)).astype(np.int8)
    packed = pack_ternary(codes)
    assert packed.shape == (5, 3)
    assert packed.dtype == np.uint8
    for k in range(5):
        for n in range(12):
            assert (int(packed[k, n // 4]) >> (2 * (n % 4))) & 3 == codes[k, n] + 1
    assert np.array_equal(unpack_ternary(packed), codes)


def test_outputs_must_fill_bytes():
    with pytest.raises(ModelError, match="10 outputs"):
        pack_ternary(np.zeros((2, 10), dtype=np.int8))


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (7, 11), (64, 48)])
def test_five_to_a_byte_is_lossless(shape):
    codes = np.random.default_rng(0).integers(-1, 2, (shape[0], 4 * shape[1])).astype(np.int8)
    packed = pack_ternary(codes)
    squeezed = squeeze(packed)
    assert squeezed.shape == (4, -(-packed.size // 5))
    assert np.array_equal(unsqueeze(squeezed, shape), packed)
