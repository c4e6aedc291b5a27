# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ternary vision transformer of TAT-VPR, from image to tokens."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.config import Config, param
from vpr_ros.networks.attention import HeadedProduct
from vpr_ros.networks.mlp import Mlp
from vpr_ros.networks.positions import patch_grid, resize_positions
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.tokens import Tokens

MATRIX, OUTPUT = SCALES = ("matrix", "output")
REFERENCE, DINOV2 = LAYOUTS = ("reference", "dinov2")
TOKEN, NESTED = SELECTIONS = ("token", "nested")


@dataclasses.dataclass(frozen=True)
class TernaryVitConfig(Config):
    """Size and selection rule; the defaults are TAT-VPR's reference, ViT-B/16 at 224 px."""

    image_size: int = param(224, "side of the training images", unit="px", minimum=1)
    patch_size: int = param(16, "side of a patch", unit="px", minimum=1)
    dim: int = param(768, "values per token", minimum=1)
    depth: int = param(12, "blocks", minimum=1)
    heads: int = param(12, "attention heads", minimum=1)
    mlp_ratio: int = param(4, "hidden over outer width of the MLP", minimum=1)
    selection: str = param(TOKEN, "who chooses the channels that stay", choices=SELECTIONS)
    int8: bool = param(True, "activations of the ternary layers are int8, one scale per token")
    scales: str = param(MATRIX, "what has a delta of its own", choices=SCALES)
    layout: str = param(REFERENCE, "where norms and biases stand", choices=LAYOUTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        patch_grid(self.image_size, self.image_size, self.patch_size)

    def ternary(self, inputs: int, outputs: int, bias: bool = True) -> SparseTernaryLinear:
        """A layer of this network."""
        return SparseTernaryLinear(
            inputs,
            outputs,
            bias=bias,
            int8=self.int8,
            per_output=self.scales == OUTPUT,
            nested=self.selection == NESTED,
        )

    @property
    def as_dinov2(self) -> bool:
        """Whether norms and biases stand where DINOv2 has them."""
        return self.layout == DINOV2

    @property
    def epsilon(self) -> float:
        """That of the norms over tokens."""
        return 1e-6 if self.as_dinov2 else 1e-5

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (H, W) of a training image."""
        return patch_grid(self.image_size, self.image_size, self.patch_size)


class PatchEmbed(nn.Module):
    """Unfolded patches, layer norm, linear, layer norm (TAT-VPR's reference).

    Without `norms` the linear layer alone: the same as a convolution of the patch's stride.
    """

    def __init__(self, patch_size: int, dim: int, norms: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        values = 3 * patch_size**2
        self.norm_pixels = nn.LayerNorm(values) if norms else nn.Identity()
        self.project = nn.Linear(values, dim)
        self.norm = nn.LayerNorm(dim) if norms else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) to (B, N, C); a patch's pixels stand channel by channel."""
        side = self.patch_size
        cut = image.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, 3, h, side, w, side)
        pixels = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, h * w, values)
        return self.norm(self.project(self.norm_pixels(pixels)))


class TernaryAttention(nn.Module):
    """Self-attention whose projections are ternary and sparse; qkv has no bias, but DINOv2's."""

    def __init__(self, config: TernaryVitConfig) -> None:
        super().__init__()
        self.dim = dim = config.dim
        self.qkv = config.ternary(dim, 3 * dim, bias=config.as_dinov2)
        self.product = HeadedProduct(config.heads)
        self.out = config.ternary(dim, dim)

    def forward(self, x: Tensor, sparsity: float | Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        q, k, v = self.qkv(x, sparsity).split(self.dim, dim=-1)
        return self.out(self.product(q, k, v), sparsity)


class TernaryMlp(nn.Module):
    """A ternary, sparse MLP with a second layer norm before its second layer (not DINOv2's)."""

    def __init__(self, config: TernaryVitConfig) -> None:
        super().__init__()
        hidden = config.dim * config.mlp_ratio
        self.widen = config.ternary(config.dim, hidden)
        self.norm = nn.Identity() if config.as_dinov2 else nn.LayerNorm(hidden)
        self.narrow = config.ternary(hidden, config.dim)

    def forward(self, x: Tensor, sparsity: float | Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        x = self.norm(F.gelu(self.widen(x, sparsity)))
        return self.narrow(x, sparsity)


class TernaryBlock(nn.Module):
    """Pre-norm block; in the last one the MLP is dense and of full precision, without its norm."""

    def __init__(self, config: TernaryVitConfig, last: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.epsilon)
        self.attention = TernaryAttention(config)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.epsilon)
        self.mlp: TernaryMlp | Mlp = (
            Mlp(config.dim, config.dim * config.mlp_ratio) if last else TernaryMlp(config)
        )

    def forward(self, x: Tensor, sparsity: float | Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        x = x + self.attention(self.norm1(x), sparsity)
        normed = self.norm2(x)
        if isinstance(self.mlp, Mlp):
            return x + self.mlp(normed)
        return x + self.mlp(normed, sparsity)


class TernaryVit(nn.Module):
    """TAT-VPR's backbone (arXiv 2505.16447) with the run-time dial `sparsity`.

    Layout `dinov2` has norms and biases where DINOv2 has them instead, so that a student of few
    steps can start as what its teacher is; layer scales are part of the weights.

    That the last MLP lacks the second layer norm follows from the published sizes, which come
    out to the third decimal only so.
    """

    def __init__(self, config: TernaryVitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.dim, norms=not config.as_dinov2)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        positions = 1 + config.grid[0] * config.grid[1]
        self.positions = nn.Parameter(torch.zeros(1, positions, config.dim))
        self.blocks = nn.ModuleList(
            TernaryBlock(config, last=i + 1 == config.depth) for i in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim, eps=config.epsilon)
        for parameter in (self.class_token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, image: Tensor, sparsity: float | Tensor = 0.0) -> Tokens:
        """Normalised RGB images (B, 3, H, W), sides multiples of the patch, to tokens."""
        grid = patch_grid(*image.shape[2:], self.config.patch_size)
        class_token = self.class_token.expand(image.shape[0], -1, -1)
        x = torch.cat([class_token, self.patch_embed(image)], dim=1)  # (B, 1 + N, C)
        x = x + resize_positions(self.positions, grid)
        for block in self.blocks:
            x = block(x, sparsity)
        x = self.norm(x)
        return Tokens(x[:, 0], x[:, 1:], grid)
