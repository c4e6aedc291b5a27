# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A vision transformer in the DINOv2 layout, from image to tokens."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from vpr_ros.core.config import Config, param
from vpr_ros.networks.attention import SelfAttention
from vpr_ros.networks.mlp import Mlp
from vpr_ros.networks.positions import patch_grid, resize_positions
from vpr_ros.networks.tokens import Tokens


@dataclasses.dataclass(frozen=True)
class VitConfig(Config):
    """Size of the transformer; the defaults are DINOv2-small (ViT-S/14, 22.06 M parameters)."""

    patch_size: int = param(14, "side of a patch", unit="px", minimum=1)
    dim: int = param(384, "values per token", minimum=1)
    depth: int = param(12, "blocks", minimum=1)
    heads: int = param(6, "attention heads", minimum=1)
    mlp_ratio: int = param(4, "hidden over outer width of the MLP", minimum=1)
    position_grid: int = param(37, "side of the stored position grid", unit="patches", minimum=1)


class LayerScale(nn.Module):
    """A learned gain per channel at the end of a residual branch (Touvron et al., ICCV 2021)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to (..., dim)."""
        return x * self.gain


class Block(nn.Module):
    """Pre-norm transformer block with layer scale."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attention = SelfAttention(config.dim, config.heads)
        self.scale1 = LayerScale(config.dim)
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.mlp = Mlp(config.dim, config.dim * config.mlp_ratio)
        self.scale2 = LayerScale(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        x = x + self.scale1(self.attention(self.norm1(x)))
        return x + self.scale2(self.mlp(self.norm2(x)))

    def forward_watched(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the attention of the class token to every token, (B, N)."""
        mixed, class_attention = self.attention.forward_watched(self.norm1(x))
        x = x + self.scale1(mixed)
        return x + self.scale2(self.mlp(self.norm2(x))), class_attention


class Vit(nn.Module):
    """DINOv2's vision transformer without registers (Oquab et al., TMLR 2024).

    Random after construction; `pretrained.py` loads released weights.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Conv2d(3, config.dim, config.patch_size, config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(torch.zeros(1, 1 + config.position_grid**2, config.dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        for parameter in (self.class_token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)

    def embed(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Image (B, 3, H, W) to class and patch tokens (B, 1 + h * w, C) and the grid (h, w)."""
        grid = patch_grid(*image.shape[2:], self.config.patch_size)
        patches = self.patch_embed(image).flatten(2).transpose(1, 2)  # (B, h * w, C)
        class_token = self.class_token.expand(image.shape[0], -1, -1)
        tokens = torch.cat([class_token, patches], dim=1)
        return tokens + resize_positions(self.positions, grid), grid

    def forward(self, image: Tensor) -> Tokens:
        """Normalised RGB images (B, 3, H, W), sides multiples of the patch, to tokens."""
        x, grid = self.embed(image)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return Tokens(x[:, 0], x[:, 1:], grid)
