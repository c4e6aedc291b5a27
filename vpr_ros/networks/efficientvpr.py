# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientVPR: a frozen DINOv2-small, scene-aware prompts, and a 3456-value descriptor.

From image to descriptor, in the order of this file: SceneVPT runs the backbone with prompts; MsIA
and OLE make 2 N local features of its N patches; SGFS lets the prompts select among them; a linear
projection and unit length make the descriptor. Each class says what it chooses where the paper
(CVPR 2026) is silent.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.config import param
from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads.pooling import GeM
from vpr_ros.networks.vit import (
    Block,
    CrossAttention,
    Mlp,
    SelfAttention,
    Tokens,
    Vit,
    VitConfig,
)

SCALES = (1, 2, 4)  # of MsIA
EPSILON = 1e-6  # of OLE's projection, and the smallest share with a logarithm of its own
SHARE, LOG_SHARE = CHOICES = ("share", "log-share")
MIX, COMPRESS = PROJECTIONS = ("mix", "compress")


@dataclasses.dataclass(frozen=True)
class EfficientVPRConfig(VitConfig):
    """The paper's network by default."""

    prompts: int = param(32, "prompts per layer, N_p", minimum=1)
    rows: int = param(9, "rows of `dim` values that the projection gives", minimum=1)
    choice: str = param(
        SHARE,
        "what decides which prompts are kept: a prompt's share of the attention (the paper), or "
        "the logarithm of its ratio to the mean share",
        choices=CHOICES,
    )
    temperature: float = param(1.0, "of that choice; below 1 it is sharper", minimum=1e-3)
    projection: str = param(
        MIX, "across prompts (mix) or within each (compress)", choices=PROJECTIONS
    )
    size: int = param(0, "values of a further linear map of all rows; 0: none", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection == COMPRESS and self.rows * self.dim % self.prompts:
            raise ConfigError(
                f"Projection '{COMPRESS}' cannot share {self.rows} x {self.dim} values among "
                f"{self.prompts} prompts; give numbers that divide."
            )


class EfficientVPR(nn.Module):
    """EfficientVPR (CVPR 2026), one image to one 3456-value descriptor.

    Trainable: 7.8 M parameters (the paper: 7.7 M), 0.15 M of them prompts.

    Chosen where the paper is silent: the projection of 32 x 384 selected values to 3456. A full
    matrix would need 42 M parameters. `mix` makes 9 rows of 384 values out of the 32 vectors, as
    BoQ mixes its answers (297 parameters); `compress` makes each vector shorter, 384 to 108
    (41,580 parameters).

    Not in the paper: with a `size`, a linear map of the 3456 values ends the network, for a
    descriptor as long as a teacher's.
    """

    def __init__(self, config: EfficientVPRConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = SceneVPT(Vit(config), config.prompts, config.choice, config.temperature)
        self.msia = MsIA(config.dim, config.heads)
        self.ole = OLE(config.dim)
        self.selector = SGFS(config.dim, config.heads)
        values = config.rows * config.dim
        if config.projection == MIX:
            self.mix = nn.Linear(config.prompts, config.rows)
        else:
            self.compress = nn.Linear(config.dim, values // config.prompts)
        self.project = nn.Linear(values, config.size, bias=False) if config.size else None
        self.descriptor_size = config.size or values

    @property
    def vit(self) -> Vit:
        """The frozen transformer inside the backbone."""
        return self.backbone.backbone

    def forward(self, image: Tensor) -> Tensor:
        """Normalised RGB images (B, 3, H, W), sides multiples of 14, to unit (B, D)."""
        return self.describe(self.backbone(image))

    def describe(self, tokens: Tokens) -> Tensor:
        """The backbone's tokens of B images to unit descriptors (B, D)."""
        whole = self.rows(tokens)
        if self.project is None:
            return whole
        return F.normalize(self.project(whole[:, None])[:, 0], dim=1)

    def rows(self, tokens: Tokens) -> Tensor:
        """The backbone's tokens of B images to the projection's values, unit (B, 3456)."""
        assert tokens.prompts is not None  # SceneVPT's
        local = torch.cat([self.msia(tokens), self.ole(tokens)], dim=1)  # f_l, (B, 2 N, C)
        selected = self.selector(tokens.prompts, local)  # f_out, (B, P, C)
        if self.config.projection == MIX:
            rows = self.mix(selected.transpose(1, 2)).transpose(1, 2)  # (B, rows, C)
        else:
            rows = self.compress(selected)  # (B, P, rows * C / P)
        return F.normalize(rows.flatten(1), dim=1)


class SceneVPT(nn.Module):
    """A frozen backbone with prompts at every layer, which each image keeps or replaces.

    Layer i is fed CLS, the prompts alpha_i * Z_(i-1) + (1 - alpha_i) * P_i, and the patches. Z are
    the prompts that layer i-1 gave, P_i the learned ones of layer i. Prompts replace those of the
    layer before, so the sequence keeps its length. 12 layers x 32 prompts x 384 = 147,456 values,
    the published 0.15 M, and gamma.

    Chosen where the paper is silent. Layer 1 has no layer before it: it gets P_1 alone. s_j is
    the mean over heads of the softmaxed attention, the head-independent reading. gamma is one
    scalar for all layers and starts where a prompt of average attention is half kept. P_i start as
    Xavier-uniform over a patch, as VPT's do (Jia et al., ECCV 2022). The last layer's prompts pass
    the backbone's final norm together with the patches they will be compared to.

    The paper's alpha hardly chooses: 32 shares lie around 1/32, and a sigmoid is almost flat over
    so short a distance. `choice` "log-share" and a `temperature` below 1 are not in the paper.
    """

    def __init__(
        self, backbone: Vit, prompts: int, choice: str = SHARE, temperature: float = 1.0
    ) -> None:
        super().__init__()
        config = backbone.config
        self.choice, self.temperature = choice, temperature
        self.backbone = backbone.requires_grad_(False)
        self.prompts = nn.Parameter(torch.empty(config.depth, prompts, config.dim))
        bound = (6.0 / (3 * config.patch_size**2 + config.dim)) ** 0.5
        nn.init.uniform_(self.prompts, -bound, bound)
        self.gamma = nn.Parameter(torch.tensor(1.0 / prompts if choice == SHARE else 0.0))

    def forward(self, image: Tensor) -> Tokens:
        """Normalised RGB images (B, 3, H, W) to tokens with the last layer's prompts."""
        x, grid = self.backbone.embed(image)
        first = 1 + self.prompts.shape[1]  # patch
        class_token, patches = x[:, :1], x[:, 1:]
        prompts = self.prompts[0].expand(image.shape[0], -1, -1)
        *blocks, last = self.backbone.blocks
        for i, block in enumerate(blocks, start=1):
            x = torch.cat([class_token, prompts, patches], dim=1)  # (B, 1 + P + N, C)
            assert isinstance(block, Block)
            x, attention = block.forward_with_class_attention(x)
            class_token, prompts, patches = x[:, :1], x[:, 1:first], x[:, first:]
            alpha = self.kept_share(attention[:, 1:first])
            prompts = alpha * prompts + (1.0 - alpha) * self.prompts[i]
        x = last(torch.cat([class_token, prompts, patches], dim=1))
        x = self.backbone.norm(x)
        return Tokens(x[:, 0], x[:, first:], grid, x[:, 1:first])

    def kept_share(self, attention: Tensor) -> Tensor:
        """alpha, how much of each prompt is kept, (B, P, 1), by CLS's attention s to them (B, P).

        alpha_j = sigmoid((s'_j - gamma) / temperature) with s'_j = s_j / sum_k s_k; at temperature
        1 the paper's. With "log-share", log(N_p s'_j) instead of s'_j: 0 for an average share.
        """
        share = attention / attention.sum(dim=1, keepdim=True)
        if self.choice == LOG_SHARE:
            share = (share * attention.shape[1]).clamp(min=EPSILON).log()
        return torch.sigmoid((share - self.gamma) / self.temperature).unsqueeze(2)


class MsIA(nn.Module):
    """Multi-scale interaction attention: patches ask the same scene at several scales for context.

    The patch sequence is the query; the patch map at scales 1, 2 and 4, flattened and joined, is
    key and value.

    Chosen where the paper is silent. Maps shrink by averaging, which adds no parameters and no
    blur of its own. The attention stands in a full pre-norm block with a residual and an MLP of
    ratio 4, as every attention of the backbone does; with the same rule in SGFS and OLE the number
    of trainable parameters comes out.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = CrossAttention(dim, heads)
        self.norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of N patches to context-aware patches (B, N, C)."""
        x = tokens.patches + self.attention(tokens.patches, multi_scale_sequence(tokens.map))
        x = x + self.mlp(self.norm(x))
        return x


def multi_scale_sequence(features: Tensor) -> Tensor:
    """f_multi: a map (B, C, H, W) at all SCALES, flattened and joined, (B, positions, C).

    At scale s it has ceil(H / s) x ceil(W / s) positions, the means of s x s squares; at an edge
    that s does not divide, the mean of what is there.
    """
    maps = [F.avg_pool2d(features, s, s, ceil_mode=True) if s > 1 else features for s in SCALES]
    return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)


class OLE(nn.Module):
    """Orientation-aware local enhancer: what rows and columns show, less what they share.

    1x3 and 3x1 convolutions give f_h and f_v; f'_v = MLP(GeM(f_v)) sums up the vertical path;
    f'_h = f_h - S / (|f'_v| + eps) f'_v; a 1x1 convolution joins f'_h and f_v.

    Chosen where the paper is silent. The spatial correlation S is that of f_h with the unit
    vector of f'_v: with the plain inner product the formula would not leave f'_h orthogonal to
    f'_v, which is its declared purpose. The MLP has ratio 4 and GeM a learned exponent, both as
    usual; convolutions pad with zeros so that the map keeps its size.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.horizontal = nn.Conv2d(dim, dim, (1, 3), padding=(0, 1))
        self.vertical = nn.Conv2d(dim, dim, (3, 1), padding=(1, 0))
        self.pool = GeM(trainable=True)
        self.summary = Mlp(dim, 4 * dim)
        self.join = nn.Conv2d(2 * dim, dim, 1)

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens of N patches to orientation-aware patches (B, N, C)."""
        along_rows = self.horizontal(tokens.map)  # f_h, (B, C, H, W)
        along_columns = self.vertical(tokens.map)  # f_v
        summary = self.summary(self.pool(along_columns))  # f'_v, (B, C)
        along_rows = remove_component(along_rows, summary)  # f'_h
        joined = self.join(torch.cat([along_rows, along_columns], dim=1))
        return joined.flatten(2).transpose(1, 2)


def remove_component(features: Tensor, direction: Tensor) -> Tensor:
    """A map (B, C, H, W) less its projection onto a vector (B, C) at every position."""
    length = direction.norm(dim=1, keepdim=True) + EPSILON
    unit = (direction / length)[:, :, None, None]  # (B, C, 1, 1)
    correlation = (features * unit).sum(dim=1, keepdim=True)  # S, (B, 1, H, W)
    return features - correlation * unit


class SGFS(nn.Module):
    """Semantic-guided feature selector: the image's own prompts pick the features that matter.

    The prompts of the backbone's last layer refine each other by self-attention, f'_g, and then,
    as queries, select among the local features by cross-attention.

    Chosen where the paper is silent. Each attention is followed by an MLP of ratio 4, in pre-norm
    blocks; the final norm stands where BoQ has its norm of the outputs. The number of heads is
    the backbone's.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.refine = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.refine_mlp = Mlp(dim, 4 * dim)
        self.norm3 = nn.LayerNorm(dim)
        self.select = CrossAttention(dim, heads)
        self.norm4 = nn.LayerNorm(dim)
        self.select_mlp = Mlp(dim, 4 * dim)
        self.norm5 = nn.LayerNorm(dim)

    def forward(self, prompts: Tensor, features: Tensor) -> Tensor:
        """Prompts (B, P, C) and local features (B, M, C) to selected features (B, P, C)."""
        x = prompts + self.refine(self.norm1(prompts))
        x = x + self.refine_mlp(self.norm2(x))
        x = x + self.select(self.norm3(x), features)
        x = x + self.select_mlp(self.norm4(x))
        return self.norm5(x)
