# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""MsIA's scales and OLE's orthogonality."""

import pytest
import torch

from vpr_ros.networks.msia import MsIA
from vpr_ros.networks.multi_scale import multi_scale_sequence, scaled_maps
from vpr_ros.networks.ole import OLE, remove_component
from vpr_ros.networks.tokens import Tokens


def make_tokens(height, width, dim=8):
    return Tokens(torch.randn(2, dim), torch.randn(2, height * width, dim), (height, width))


@pytest.mark.parametrize("height, width", [(8, 8), (5, 7), (3, 4), (19, 19), (23, 23)])
def test_scales_are_means_also_at_the_edges(height, width):
    features = torch.randn(1, 2, height, width)
    for scale, scaled in zip((1, 2, 4), scaled_maps(features), strict=True):
        rows, columns = -(-height // scale), -(-width // scale)
        assert scaled.shape == (1, 2, rows, columns)
        for r in range(rows):
            for c in range(columns):
                block = features[
                    :, :, r * scale : (r + 1) * scale, c * scale : (c + 1) * scale
                ].mean(dim=(2, 3))
                assert torch.allclose(scaled[:, :, r, c], block, atol=1e-5)


def test_multi_scale_sequence_joins_all_positions():
    features = torch.randn(2, 8, 8, 4)
    sequence = multi_scale_sequence(features)
    assert sequence.shape == (2, 32 + 8 + 2, 8)
    assert torch.equal(sequence[0, 5], features[0, :, 1, 1])


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
