# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""TAT-VPR: a ternary vision transformer with a head, whose cost is set at run time."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads import HEADS, build_head
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.vit import HeadedProduct, Mlp, Tokens, patch_grid, resize_positions

# Name -> width and heads. `base` is the published reference; the others are sizes for robots.
SIZES = {"base": (768, 12), "small": (384, 6), "tiny": (192, 3)}
TOKEN, NESTED = SELECTIONS = ("token", "nested")
MATRIX, OUTPUT = SCALES = ("matrix", "output")
REFERENCE, DINOV2 = LAYOUTS = ("reference", "dinov2")


@dataclasses.dataclass(frozen=True)
class TatVPRConfig(Config):
    """Size, selection rule and head; the defaults are the published reference, ViT-B/16."""

    image_size: int = param(224, "side of the training images", unit="px", minimum=1)
    patch_size: int = param(16, "side of a patch", unit="px", minimum=1)
    dim: int = param(768, "values per token", minimum=1)
    depth: int = param(12, "number of blocks", minimum=1)
    heads: int = param(12, "attention heads", minimum=1)
    mlp_ratio: int = param(4, "hidden width of the MLP over its outer width", minimum=1)
    selection: str = param(
        TOKEN,
        "which channels a sparse layer keeps: the largest of every token (the paper), or the "
        "first in one order for all images",
        choices=SELECTIONS,
    )
    int8: bool = param(True, "round the inputs of ternary layers to int8, one scale per token")
    scales: str = param(MATRIX, "what has a ternary step of its own", choices=SCALES)
    layout: str = param(REFERENCE, "whose norms and biases the blocks have", choices=LAYOUTS)
    head: str = param("boq", "what makes the descriptor from the tokens", choices=tuple(HEADS))

    def __post_init__(self) -> None:
        super().__post_init__()
        patch_grid(self.image_size, self.image_size, self.patch_size)

    @classmethod
    def of_size(cls, size: str, **changes: object) -> TatVPRConfig:
        """The configuration named `size` in SIZES, with `changes` to other fields."""
        dim, heads = SIZES[size]
        return cls.from_dict({"dim": dim, "heads": heads, **changes})

    @property
    def as_dinov2(self) -> bool:
        """Whether norms and biases stand where DINOv2 has them."""
        return self.layout == DINOV2

    @property
    def epsilon(self) -> float:
        """Epsilon of the norms over tokens."""
        return 1e-6 if self.as_dinov2 else 1e-5

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (H, W) of a training image."""
        return patch_grid(self.image_size, self.image_size, self.patch_size)

    def ternary(self, inputs: int, outputs: int, bias: bool = True) -> SparseTernaryLinear:
        """A ternary layer as this configuration wants it."""
        return SparseTernaryLinear(
            inputs,
            outputs,
            bias=bias,
            int8=self.int8,
            per_output=self.scales == OUTPUT,
            nested=self.selection == NESTED,
        )


class TatVPR(nn.Module):
    """TAT-VPR (arXiv 2505.16447), one image to one descriptor at a chosen sparsity."""

    def __init__(self, config: TatVPRConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = TernaryVit(config)
        self.head = build_head(config.head, config.dim, config.grid[0] * config.grid[1])
        self.descriptor_size = self.head.descriptor_size

    def forward(self, image: Tensor, sparsity: float | Tensor = 0.0) -> Tensor:
        """Normalised RGB images (B, 3, H, W) to unit descriptors (B, descriptor_size)."""
        return self.head(self.backbone(image, sparsity))


class TernaryVit(nn.Module):
    """TAT-VPR's backbone, from image to tokens at `sparsity` in [0, 1).

    Every linear layer of the blocks is ternary and sparse, except in the last MLP. That one also
    lacks the second layer norm: only then do the published sizes come out to the third decimal.

    With layout `dinov2`, norms and biases stand where DINOv2 has them, so that a student trained
    for a few steps can start as its teacher; layer scales are part of the weights.
    """

    def __init__(self, config: TatVPRConfig) -> None:
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
        height, width = image.shape[2:]
        grid = patch_grid(height, width, self.config.patch_size)
        class_token = self.class_token.expand(image.shape[0], -1, -1)
        x = torch.cat([class_token, self.patch_embed(image)], dim=1)  # (B, 1 + N, C)
        x = x + resize_positions(self.positions, grid)
        for block in self.blocks:
            x = block(x, sparsity)
        x = self.norm(x)
        return Tokens(x[:, 0], x[:, 1:], grid)


def dense_state(backbone: TernaryVit) -> dict[str, Tensor]:
    """The state dict of a `Vit` that computes what `backbone` does at sparsity 0, without int8.

    ConfigError unless the layout is `dinov2`.
    """
    config = backbone.config
    if not config.as_dinov2:
        raise ConfigError(
            f"A tat-vpr of layout '{config.layout}' has other norms than DINOv2's blocks; give "
            f"one of layout '{DINOV2}'."
        )
    state = {}
    for name, module in backbone.named_modules():
        for key, value in module.named_parameters(name, recurse=False):
            if isinstance(module, SparseTernaryLinear) and key.endswith(".weight"):
                codes, step = module.ternary()
                value = codes * step
            state[key.replace("patch_embed.project.", "patch_embed.")] = value.detach()
    pixels = config.patch_size
    state["patch_embed.weight"] = state["patch_embed.weight"].unflatten(1, (3, pixels, pixels))
    gain = torch.ones(config.dim)
    gains = {f"blocks.{i}.scale{k}.gain": gain for i in range(config.depth) for k in (1, 2)}
    return state | gains


class PatchEmbed(nn.Module):
    """Unfolded patches, layer norm, linear, layer norm (TAT-VPR's reference).

    Without `norms` it is the linear layer alone, a convolution with the patch as its stride.
    """

    def __init__(self, patch_size: int, dim: int, norms: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        values = 3 * patch_size**2
        self.norm_pixels = nn.LayerNorm(values) if norms else nn.Identity()
        self.project = nn.Linear(values, dim)
        self.norm = nn.LayerNorm(dim) if norms else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) to (B, N, C); a patch's pixels are ordered channel by channel."""
        side = self.patch_size
        cut = image.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, 3, h, side, w, side)
        pixels = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, h * w, values)
        return self.norm(self.project(self.norm_pixels(pixels)))


class TernaryBlock(nn.Module):
    """Pre-norm block; in the last one the MLP is dense, of full precision and without its norm."""

    def __init__(self, config: TatVPRConfig, last: bool) -> None:
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
        mlp = self.mlp
        x = x + (mlp(normed) if isinstance(mlp, Mlp) else mlp(normed, sparsity))
        return x


class TernaryAttention(nn.Module):
    """Self-attention with ternary, sparse projections; qkv has biases in DINOv2's layout only."""

    def __init__(self, config: TatVPRConfig) -> None:
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
    """Ternary, sparse MLP; the reference has a second layer norm before its second layer."""

    def __init__(self, config: TatVPRConfig) -> None:
        super().__init__()
        hidden = config.dim * config.mlp_ratio
        self.widen = config.ternary(config.dim, hidden)
        self.norm = nn.Identity() if config.as_dinov2 else nn.LayerNorm(hidden)
        self.narrow = config.ternary(hidden, config.dim)

    def forward(self, x: Tensor, sparsity: float | Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        x = self.norm(F.gelu(self.widen(x, sparsity)))
        return self.narrow(x, sparsity)
