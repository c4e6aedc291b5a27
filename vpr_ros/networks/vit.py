# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A vision transformer in the DINOv2 layout, from image to tokens."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class VitConfig(Config):
    """Size of the transformer; the defaults are DINOv2-small (ViT-S/14, 22.06 M parameters)."""

    patch_size: int = param(14, "side of a patch", unit="px", minimum=1)
    dim: int = param(384, "values per token", minimum=1)
    depth: int = param(12, "number of blocks", minimum=1)
    heads: int = param(6, "attention heads", minimum=1)
    mlp_ratio: int = param(4, "hidden width of the MLP over its outer width", minimum=1)
    position_grid: int = param(37, "side of the stored position grid", unit="patches", minimum=1)


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What a backbone hands to a head: the normed tokens of B images, C values each."""

    class_token: Tensor  # (B, C)
    patches: Tensor  # (B, H * W, C), row by row
    grid: tuple[int, int]  # (H, W), patches
    prompts: Tensor | None = None  # (B, P, C), None if the backbone has no prompts

    @property
    def map(self) -> Tensor:
        """The patches as an image, (B, C, H, W)."""
        return self.patches.transpose(1, 2).unflatten(2, self.grid)


def patch_grid(height: int, width: int, patch: int) -> tuple[int, int]:
    """Rows and columns of `patch` px patches in an image; ConfigError if they do not fit."""
    height, width = int(height), int(width)  # tensors while a network is traced
    if height % patch or width % patch or not (height and width):
        raise ConfigError(
            f"Image is {height}x{width} px; give sides that are multiples of the patch, {patch}."
        )
    return height // patch, width // patch


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings (1, 1 + G * G, C) for another grid, (1, 1 + H * W, C).

    The class token's embedding is kept. The patches' are resized to exactly `grid`, bicubically
    (a = -0.75, pixel centres aligned, no antialiasing), as the released DINOv2 without registers
    was trained at its second resolution and evaluated; antialiasing belongs to the later variants
    with registers. The original code passes scale factors with an offset of 0.1 against rounding;
    passing the size needs no offset and samples within 0.3 % of a patch of it.
    """
    class_position, patches = positions[:, :1], positions[:, 1:]
    side = round(int(patches.shape[1]) ** 0.5)
    if grid == (side, side):
        return positions
    plane = patches.transpose(1, 2).unflatten(2, (side, side)).float()  # (1, C, G, G)
    resized = F.interpolate(plane, size=grid, mode="bicubic", align_corners=False)
    resized = resized.flatten(2).transpose(1, 2).to(positions.dtype)  # (1, H * W, C)
    return torch.cat([class_position, resized], dim=1)


class HeadedProduct(nn.Module):
    """softmax(q k^T / sqrt(d)) v per head (Vaswani et al., NeurIPS 2017, equation 1).

    A module although it has no parameters, so that the exporter can replace it.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, C / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, N, C) over k, v (B, M, C), to (B, N, C)."""
        mixed = F.scaled_dot_product_attention(self.split(q), self.split(k), self.split(v))
        return mixed.transpose(1, 2).flatten(2)

    def class_attention(self, q: Tensor, k: Tensor) -> Tensor:
        """How much the first token of q attends to each token of k, mean over heads: (B, M)."""
        query, keys = self.split(q[:, :1]), self.split(k)
        logits = query @ keys.transpose(2, 3) * keys.shape[-1] ** -0.5  # (B, heads, 1, M)
        return logits.softmax(dim=-1).mean(dim=1).squeeze(1)


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself; query, key and value in one product."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.product = HeadedProduct(heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        q, k, v = self.qkv(x).split(self.dim, dim=-1)
        return self.out(self.product(q, k, v))

    def forward_with_class_attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the attention of the first (class) token to every token, (B, N)."""
        q, k, v = self.qkv(x).split(self.dim, dim=-1)
        return self.out(self.product(q, k, v)), self.product.class_attention(q, k)


class CrossAttention(nn.Module):
    """Multi-head attention of queries to another sequence."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.product = HeadedProduct(heads)
        self.out = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Queries (B, N, C) over context (B, M, C), to (B, N, C)."""
        k, v = self.kv(context).split(self.dim, dim=-1)
        return self.out(self.product(self.q(queries), k, v))


class Mlp(nn.Module):
    """Widen, exact GELU, narrow (Dosovitskiy et al., ICLR 2021, section 3.1)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.widen = nn.Linear(dim, hidden)
        self.narrow = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to (..., dim)."""
        return self.narrow(F.gelu(self.widen(x)))


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
        x = x + self.scale2(self.mlp(self.norm2(x)))
        return x

    def forward_with_class_attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the attention of the class token to every token, (B, N)."""
        mixed, class_attention = self.attention.forward_with_class_attention(self.norm1(x))
        x = x + self.scale1(mixed)
        return x + self.scale2(self.mlp(self.norm2(x))), class_attention


class Vit(nn.Module):
    """DINOv2's vision transformer without registers (Oquab et al., TMLR 2024).

    Its weights are random after construction; `dinov2_weights` loads released ones.
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
        height, width = image.shape[2:]
        grid = patch_grid(height, width, self.config.patch_size)
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
