# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network sees RGB, normalised, at its own size."""

import dataclasses

import numpy as np
import pytest

from vpr_ros.core.preprocess import preprocess

RNG = np.random.default_rng(0)


def test_colours_are_normalised_in_rgb_order(contract):
    contract = dataclasses.replace(contract, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    image = RNG.integers(0, 256, (6, 8, 3), np.uint8)  # already the input size
    rgb = image[..., ::-1] / 255.0
    expected = ((rgb - (0.1, 0.2, 0.3)) / (0.5, 0.6, 0.7)).transpose(2, 0, 1)
    pixels = preprocess(image, contract)
    assert pixels.dtype == np.float32 and pixels.shape == (1, 3, 6, 8)
    assert np.allclose(pixels[0], expected, atol=1e-6)


def test_shrinking_averages(contract):
    image = RNG.integers(0, 256, (18, 24, 3), np.uint8)
    means = image.reshape(6, 3, 8, 3, 3).mean((1, 3))[..., ::-1].transpose(2, 0, 1)
    assert np.abs(preprocess(image, contract)[0] - (means / 255 - 0.25)).max() <= 0.51 / 255


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (200, 2, 3), (2, 2, 3)])
def test_any_size_is_taken(contract, shape):
    assert np.allclose(preprocess(np.full(shape, 255, np.uint8), contract), 0.75, atol=1e-6)
