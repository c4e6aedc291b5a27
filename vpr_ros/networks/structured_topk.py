# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Structured top-k: the channels that a tile of tokens keeps at a given sparsity."""

from __future__ import annotations

import torch
from torch import Tensor

from vpr_ros.networks.tiles import Tiles

ROUNDING_GUARD = 1e-3  # float32 noise of (1 - s) K at K < 8192, so that s = 0.7 keeps 3 of 10
VOTE_STEPS = 256  # votes are counted in 1/256 of a token's mean magnitude
SMALLEST_SUM = 1e-12  # keeps a token of zeros from dividing by zero


def kept_channels(sparsity: float | Tensor, channels: int) -> int:
    """How many of `channels` a tile keeps: ceil((1 - s) K), at least 1.

    Computed in float32, as the exported graph and the compiled operator do.
    """
    share = 1.0 - torch.tensor(float(sparsity))
    return max(1, int((share * channels - ROUNDING_GUARD).ceil()))


def tile_scores(x: Tensor, tiles: Tiles) -> Tensor:
    """Score of every channel in every tile, (B, tiles, K), for activations (B, N, K).

    The sum over the tile's tokens of |x_tc| / mean_c |x_tc|, so that every token of a tile votes
    with the same weight. Votes are rounded to whole steps: whole numbers add up exactly in any
    order, so that training, the exported graph and the compiled operator, which sum in different
    orders, choose the same channels.
    """
    return sum_votes(tile_votes(x), tiles)


def tile_votes(x: Tensor) -> Tensor:
    """What every token adds to its tile's scores, whole numbers (B, N, K)."""
    magnitude = x.abs().float()
    total = magnitude.sum(dim=-1, keepdim=True).clamp(min=SMALLEST_SUM)
    steps = magnitude.new_tensor(VOTE_STEPS * x.shape[-1])  # a tensor: 1 / total would round twice
    return (magnitude * (steps / total)).round()


def sum_votes(votes: Tensor, tiles: Tiles) -> Tensor:
    """Votes (B, N, K) to scores (B, tiles, K)."""
    scores = votes.new_zeros(votes.shape[0], tiles.count, votes.shape[-1])
    return scores.index_add_(1, tiles.of_token, votes)


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """1 at the `count` largest of the last dimension, 0 elsewhere; ties go to the lower index."""
    smallest_kept = scores.topk(count, dim=-1, sorted=False).values.amin(dim=-1, keepdim=True)
    above, tied = scores > smallest_kept, scores == smallest_kept
    places_left = count - above.sum(dim=-1, keepdim=True)
    return (above | (tied & (tied.cumsum(dim=-1) <= places_left))).to(scores)


def first_channels(rank: Tensor, sparsity: float | Tensor) -> Tensor:
    """Which channels (K,) a nested layer keeps: those whose rank is below `kept_channels`."""
    return rank < kept_channels(sparsity, len(rank))


@torch.no_grad()
def channel_mask(x: Tensor, sparsity: float | Tensor, tiles: Tiles) -> Tensor:
    """What of activations (B, N, K) is kept: 1 or 0 for each, in their dtype.

    Sparsity lies in [0, 1) and may change from call to call. An image's mask depends on that
    image alone.
    """
    count = kept_channels(sparsity, x.shape[-1])
    if tiles.per_token:
        return keep_largest(x.abs(), count)
    mask = keep_largest(tile_scores(x, tiles), count)  # (B, tiles, K)
    return mask[:, tiles.of_token].to(x)
