# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The light heads: the class token, generalised-mean pooling, and pooling by learned queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.vit import Tokens


class ClassHead(nn.Module):
    """The backbone's class token; no parameters, `dim` values."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.descriptor_size = dim

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, dim) of unit length."""
        return F.normalize(tokens.class_token, dim=1)


class GeM(nn.Module):
    """Generalised mean over all positions (Radenovic et al., TPAMI 2019, equation 2).

    p = 1 is the average, p towards infinity the maximum; a value between them sets how much a few
    strong responses count. `p` is a learnable scalar if `trainable`, a buffer otherwise, and is
    in the state dict either way.
    """

    p: Tensor

    def __init__(self, p: float = 3.0, eps: float = 1e-6, trainable: bool = False) -> None:
        super().__init__()
        if not p >= 1.0:
            raise ValueError(f"GeM exponent p is {p}; give 1 (average) or more.")
        self.eps = eps
        if trainable:
            self.p = nn.Parameter(torch.tensor(float(p)))
        else:
            self.register_buffer("p", torch.tensor(float(p)))

    def forward(self, features: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, C); values below `eps` count as `eps`."""
        powered = features.clamp(min=self.eps).pow(self.p)  # (B, C, H, W)
        return powered.mean(dim=(2, 3)).pow(1.0 / self.p)


class GeMHead(nn.Module):
    """Generalised mean of the patches with a learned exponent; `dim` values."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pool = GeM(trainable=True)
        self.descriptor_size = dim

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, dim) of unit length."""
        return F.normalize(self.pool(tokens.map), dim=1)


class QueryPool(nn.Module):
    """The last step of BoQ and of EfficientVPR's selector alone, for a robot's budget.

    Cross-attention of fixed queries (Ali-bey et al., CVPR 2024, section 3.2) without encoder and
    refinement: each query's softmax over all patches averages them. The averages pass one linear
    layer, which starts as a learned whitening, a norm, and a mix to rows of `dim` values like
    EfficientVPR's. 0.16 M parameters and 0.5 % of a backbone's time on 384 channels.
    With `whitened` directions above 0, a PartialWhitening of the whole descriptor ends it; with a
    `size` above 0, a linear map to that many values, such as a teacher's descriptor has.
    """

    def __init__(
        self, dim: int, queries: int = 32, rows: int = 9, whitened: int = 0, size: int = 0
    ) -> None:
        super().__init__()
        self.ask = nn.Linear(dim, queries)
        self.whiten = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.mix = nn.Linear(queries, rows)
        self.descriptor_size = size or rows * dim
        self.whitening = PartialWhitening(rows * dim, whitened) if whitened else None
        self.project = nn.Linear(rows * dim, size, bias=False) if size else None

    def pick(self, patches: Tensor) -> Tensor:
        """Patches (B, N, C) to what each query picks, (B, Q, C)."""
        share = self.ask(patches).transpose(1, 2).softmax(dim=2)  # (B, Q, N)
        return torch.matmul(share.to(patches.dtype), patches)

    def rows(self, tokens: Tokens) -> Tensor:
        """All rows of an image one after the other, (B, rows * dim), of unit length."""
        found = self.norm(self.whiten(self.pick(tokens.patches)))
        rows = self.mix(found.transpose(1, 2)).transpose(1, 2)  # (B, rows, C)
        return F.normalize(rows.flatten(1), dim=1)

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, descriptor_size) of unit length."""
        whole = self.rows(tokens)
        if self.whitening is not None:
            return self.whitening(whole)
        if self.project is not None:
            return F.normalize(self.project(whole[:, None])[:, 0], dim=1)
        return whole


class PartialWhitening(nn.Module):
    """Turns down the directions of a unit descriptor in which views of one place differ most.

    x - up(down(x)): learned whitening (Radenovic et al., TPAMI 2019, section 3.3) in `directions`
    directions, with all others left alike, for 2 * directions * size weights instead of size^2. It
    is fitted in closed form, never trained; before that it changes nothing.
    """

    def __init__(self, size: int, directions: int) -> None:
        super().__init__()
        if directions >= size:
            raise ConfigError(
                f"The whitening has {directions} directions of a descriptor of {size} values; "
                "give fewer, or a wider network."
            )
        self.down = nn.Linear(size, directions, bias=False)
        self.up = nn.Linear(directions, size, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, size) to (B, size), of unit length both."""
        rows = F.normalize(x, dim=1)[:, None]
        return F.normalize((rows - self.up(self.down(rows)))[:, 0], dim=1)
