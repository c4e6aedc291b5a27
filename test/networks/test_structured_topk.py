# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The selection rule, recomputed with plain loops."""

import math

import pytest
import torch

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.structured_topk import channel_mask, keep_largest, kept_channels, tile_scores
from vpr_ros.networks.tiles import token_tiles


def mask_by_loops(x, sparsity, tiles):
    batch, tokens, channels = x.shape
    mask = torch.zeros_like(x)
    count = math.ceil(round((1 - sparsity) * channels, 4))
    for b in range(batch):
        for tile in range(tiles.count):
            members = [t for t in range(tokens) if int(tiles.of_token[t]) == tile]
            scores = [
                sum(
                    round(float(abs(x[b, t, c])) * 256 * channels / float(x[b, t].abs().sum()))
                    for t in members
                )
                for c in range(channels)
            ]
            best = sorted(range(channels), key=lambda c: (-scores[c], c))[:count]
            for t in members:
                mask[b, t, best] = 1
    return mask


@pytest.mark.parametrize("tile", ["1x1", "2x2", "4x4", "3x1", "image"])
@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.4, 0.7, 0.95])
def test_mask_equals_plain_loops(tile, sparsity):
    torch.manual_seed(0)
    x = torch.randint(-127, 128, (2, 1 + 5 * 6, 10)).float()
    tiles = token_tiles((5, 6), tile)
    assert torch.equal(channel_mask(x, sparsity, tiles), mask_by_loops(x, sparsity, tiles))


def test_zero_sparsity_keeps_everything():
    x = torch.randn(1, 5, 8)
    for tile in ("1x1", "2x2", "image"):
        assert channel_mask(x, 0.0, token_tiles((2, 2), tile)).min() == 1


def test_ties_go_to_the_lower_index():
    scores = torch.tensor([[1.0, 2.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0]])
    assert torch.equal(keep_largest(scores, 3), expected)


@pytest.mark.parametrize("sparsity", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("channels", [5, 10, 192, 384, 768, 1536, 3072])
def test_kept_channels_is_the_exact_ceiling(sparsity, channels):
    tenths = round(10 * sparsity)
    exact = -(-(10 - tenths) * channels // 10)
    assert kept_channels(sparsity, channels) == exact
    assert kept_channels(torch.tensor(sparsity), channels) == exact


def test_a_token_of_zeros_does_not_spoil_its_tile():
    x = torch.randn(1, 5, 8)
    x[0, 2] = 0
    mask = channel_mask(x, 0.5, token_tiles((2, 2), "2x2"))
    assert mask.isfinite().all()
    assert (mask.sum(dim=-1) == 4).all()


def test_tokens_of_a_tile_share_their_channels_and_vote_alike():
    x = torch.tensor([[[0.0, 0.0, 0.0], [9.0, 1.0, 2.0], [0.1, 0.8, 0.1]]])
    mask = channel_mask(x, 0.6, token_tiles((1, 2), "image"))  # keeps 2 of 3
    # Raw sums would prefer channels 0 and 2; the votes add up to 2.55, 2.65 and 0.8.
    assert mask[0, 1].tolist() == mask[0, 2].tolist() == [1, 1, 0]


def test_whole_votes_add_up_alike_in_any_order():
    x = torch.randint(-127, 128, (1, 1 + 64, 96)).float()
    tiles = token_tiles((8, 8), "image")
    shuffled = x[:, [0, *(1 + torch.randperm(64)).tolist()]]
    assert torch.equal(tile_scores(x, tiles), tile_scores(shuffled, tiles))


def test_class_and_prompts_are_a_tile_of_their_own():
    tiles = token_tiles((4, 6), "2x3", others=3)
    top, bottom = [1, 1, 1, 2, 2, 2], [3, 3, 3, 4, 4, 4]
    assert tiles.of_token.tolist() == [0, 0, 0, *top, *top, *bottom, *bottom]
    assert tiles.count == 5
    assert token_tiles((2, 2), "1x1", others=2).of_token.tolist() == [0, 1, 2, 3, 4, 5]


def test_edge_tiles_are_smaller():
    assert token_tiles((3, 3), "2x2").of_token[1:].tolist() == [1, 1, 2, 1, 1, 2, 3, 3, 4]


@pytest.mark.parametrize("tile", ["", "4", "0x4", "4x", "4X4", "big"])
def test_unknown_tile_is_an_error(tile):
    with pytest.raises(ConfigError, match="Tile is"):
        token_tiles((4, 4), tile)
