# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which tokens share one selection of channels, or that all images do."""

from __future__ import annotations

import dataclasses
import re

import torch
from torch import Tensor

from vpr_ros.core.errors import ConfigError

PER_TOKEN = "1x1"
IMAGE = "image"
NESTED = "nested"  # one order of the channels for all images; every sparsity keeps a prefix


def tile_sides(tile: str) -> tuple[int, int] | None:
    """The height and width in patches of a tile such as '4x4'; None for 'image' and 'nested'."""
    if tile in (IMAGE, NESTED):
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", tile)
    if match is None:
        raise ConfigError(
            f"Tile is '{tile}'; give '1x1' (per token), e.g. '4x4', 'image', or 'nested'."
        )
    return int(match[1]), int(match[2])


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The division of a sequence of tokens into tiles."""

    of_token: Tensor  # (N,) int64, the number of each token's tile
    count: int

    @property
    def per_token(self) -> bool:
        """Whether every token is its own tile."""
        return self.count == len(self.of_token)

    def to(self, device: torch.device) -> Tiles:
        """The same on another device."""
        return Tiles(self.of_token.to(device), self.count)


def token_tiles(grid: tuple[int, int], tile: str, others: int = 1) -> Tiles:
    """Tiles of `others` tokens (class and prompts) followed by H * W patches, row by row.

    The others form tile 0, except with '1x1', where every token is its own tile. Patches are cut
    into blocks from the top left; blocks at the right and bottom edges are smaller where the
    grid does not divide. With 'nested', where no token chooses, all patches are one tile.
    """
    height, width = grid
    if tile == PER_TOKEN:
        tokens = others + height * width
        return Tiles(torch.arange(tokens), tokens)
    block_height, block_width = tile_sides(tile) or (height, width)
    down, across = -(-height // block_height), -(-width // block_width)
    rows = torch.arange(height) // block_height
    columns = torch.arange(width) // block_width
    blocks = 1 + rows[:, None] * across + columns[None, :]  # (H, W)
    of_token = torch.cat([torch.zeros(others, dtype=torch.long), blocks.flatten()])
    return Tiles(of_token, 1 + down * across)
