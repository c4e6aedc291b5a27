# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small stand-ins of published networks: their inputs, outputs, module names."""

import torch
from torch import nn
from torch.nn import functional as F

WIDTH = 24  # channels


class Unit(nn.Module):
    def forward(self, x):
        return F.normalize(x, dim=1)


class GeM(nn.Module):
    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x):
        return F.avg_pool2d(x.clamp(min=1e-6).pow(self.p), x.shape[2:]).pow(1 / self.p)


class CosPlace(nn.Module):
    """CosPlace and EigenPlaces (Berton et al., 2022 and 2023)."""

    def __init__(self, size):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, WIDTH, 16, 16), nn.BatchNorm2d(WIDTH), nn.ReLU()
        )
        linear = nn.Linear(WIDTH, size)
        self.aggregation = nn.Sequential(Unit(), GeM(), nn.Flatten(), linear, Unit())

    def forward(self, x):
        return self.aggregation(self.backbone(x))


class MixVPR(nn.Module):
    """Ali-bey et al., 2023: works on images of 320x320 only."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, WIDTH, 16, 16)
        self.aggregator = nn.Module()
        mix = nn.Sequential(nn.LayerNorm(400), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 400))
        self.aggregator.mix = nn.Sequential(mix)
        self.aggregator.channel_proj = nn.Linear(WIDTH, 1024)
        self.aggregator.row_proj = nn.Linear(400, 4)

    def forward(self, x):
        parts, x = self.aggregator, self.backbone(x).flatten(2)
        x = x + parts.mix(x)
        x = parts.channel_proj(x.permute(0, 2, 1)).permute(0, 2, 1)
        return F.normalize(parts.row_proj(x).flatten(1), dim=-1)


class Salad(nn.Module):
    """Izquierdo and Civera, 2024: clusters by optimal transport, and a token."""

    def __init__(self, clusters=64, size=128, token=256):
        super().__init__()
        self.backbone = nn.Conv2d(3, WIDTH, 14, 14)
        self.aggregator = nn.Module()
        self.aggregator.token_features = nn.Linear(WIDTH, token)
        self.aggregator.cluster_features = nn.Conv2d(WIDTH, size, 1)
        self.aggregator.score = nn.Conv2d(WIDTH, clusters, 1)
        self.aggregator.dust_bin = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        parts, x = self.aggregator, self.backbone(x)
        features, score = parts.cluster_features(x).flatten(2), parts.score(x).flatten(2)
        bins = parts.dust_bin.expand(x.shape[0], 1, score.shape[2])
        score = torch.cat([score, bins], 1)
        for _ in range(3):  # Sinkhorn
            score = score - torch.logsumexp(score, 2, keepdim=True)
            score = score - torch.logsumexp(score, 1, keepdim=True)
        weights = score.exp()[:, :-1]
        local = F.normalize(features @ weights.transpose(1, 2), dim=1).flatten(1)
        token = F.normalize(parts.token_features(x.mean((2, 3))), dim=1)
        return F.normalize(torch.cat([token, local], 1), dim=-1)


class MegaLoc(nn.Module):
    """Berton and Masone, 2025: SALAD behind one more layer; resizes to multiples of 14."""

    def __init__(self):
        super().__init__()
        self.aggregator = nn.Module()
        self.aggregator.agg = Salad(8, 16, 32)
        self.aggregator.linear = nn.Linear(8 * 16 + 32, 8448)

    def forward(self, x):
        height, width = x.shape[2:]
        if height % 14 or width % 14:
            sides = [round(height / 14) * 14, round(width / 14) * 14]
            x = F.interpolate(x, sides, mode="bilinear", antialias=True)
        return F.normalize(self.aggregator.linear(self.aggregator.agg(x)), dim=1)


class BagOfQueries(nn.Module):
    """Ali-bey et al., 2024: returns the descriptor and the attention of every block."""

    class Block(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(dim, 4, 2 * dim, 0.0, batch_first=True)
            self.queries = nn.Parameter(torch.randn(1, 64, dim))
            self.cross_attn = nn.MultiheadAttention(dim, 4, batch_first=True)

        def forward(self, x):
            x = self.encoder(x)
            out, attention = self.cross_attn(self.queries.repeat(x.shape[0], 1, 1), x, x)
            return x, out, attention.detach()

    def __init__(self, dim=128):
        super().__init__()
        self.backbone = nn.Conv2d(3, WIDTH, 16, 16)
        self.aggregator = nn.Module()
        self.aggregator.proj_c = nn.Conv2d(WIDTH, dim, 1)
        self.aggregator.boqs = nn.ModuleList(self.Block(dim) for _ in range(2))
        self.aggregator.fc = nn.Linear(2 * 64, 128)

    def forward(self, x):
        parts = self.aggregator
        x = parts.proj_c(self.backbone(x)).flatten(2).permute(0, 2, 1)
        outs, attentions = [], []
        for block in parts.boqs:
            x, out, attention = block(x)
            outs.append(out)
            attentions.append(attention)
        out = parts.fc(torch.cat(outs, 1).permute(0, 2, 1)).flatten(1)
        return F.normalize(out, dim=-1), attentions


# Name -> (network, side of its images in px, values).
PUBLISHED = {
    "CosPlace": (lambda: CosPlace(512), 256, 512),
    "EigenPlaces": (lambda: CosPlace(2048), 256, 2048),
    "MixVPR": (MixVPR, 320, 4096),
    "SALAD": (Salad, 322, 8448),
    "BoQ": (BagOfQueries, 384, 16384),
    "MegaLoc": (MegaLoc, 322, 8448),
}


def dinov2_state(dim, depth, patch=14, grid=37):
    """A small state dict with the names and shapes of dinov2_vits14_pretrain.pth."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, 1 + grid**2, dim),
        "mask_token": (1, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    for i in range(depth):
        shapes |= {
            f"blocks.{i}.norm1.weight": (dim,),
            f"blocks.{i}.norm1.bias": (dim,),
            f"blocks.{i}.attn.qkv.weight": (3 * dim, dim),
            f"blocks.{i}.attn.qkv.bias": (3 * dim,),
            f"blocks.{i}.attn.proj.weight": (dim, dim),
            f"blocks.{i}.attn.proj.bias": (dim,),
            f"blocks.{i}.ls1.gamma": (dim,),
            f"blocks.{i}.norm2.weight": (dim,),
            f"blocks.{i}.norm2.bias": (dim,),
            f"blocks.{i}.mlp.fc1.weight": (4 * dim, dim),
            f"blocks.{i}.mlp.fc1.bias": (4 * dim,),
            f"blocks.{i}.mlp.fc2.weight": (dim, 4 * dim),
            f"blocks.{i}.mlp.fc2.bias": (dim,),
            f"blocks.{i}.ls2.gamma": (dim,),
        }
    return {
        name: torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        for name, shape in shapes.items()
    }


def under_hugging_face_names(state, prefix=""):
    """The same values under the names of Hugging Face's Dinov2Model."""
    whole = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "mask_token": "embeddings.mask_token",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    renamed = {}
    for key, value in state.items():
        if key in whole:
            renamed[prefix + whole[key]] = value
            continue
        _, layer, rest = key.split(".", 2)
        base = f"{prefix}encoder.layer.{layer}."
        if rest.startswith("attn.qkv."):
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                name = f"{base}attention.attention.{name}.{rest.split('.')[-1]}"
                renamed[name] = part.contiguous()
        else:
            rest = rest.replace("attn.proj", "attention.output.dense")
            rest = rest.replace("ls1.gamma", "layer_scale1.lambda1")
            renamed[base + rest.replace("ls2.gamma", "layer_scale2.lambda1")] = value
    return renamed
