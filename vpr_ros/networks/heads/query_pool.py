# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Learned queries pick patches; what they pick is whitened and mixed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.tokens import Tokens


class PartialWhitening(nn.Module):
    """Turns down those directions of a unit descriptor in which views of one place differ most.

    x - up(down(x)): learned whitening (Radenovic et al., TPAMI 2019, section 3.3) in as many
    directions, all others alike, for 2 * directions * size weights instead of size^2. It is fitted
    (`training/query_pool_fit.py`), never trained; before that it changes nothing.
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


class QueryPool(nn.Module):
    """The last step of BoQ and of EfficientVPR's selector alone, for a robot's budget.

    Cross-attention of fixed queries (Ali-bey et al., CVPR 2024, section 3.2) without encoder and
    refinement: each query's softmax over all patches averages them; the averages pass one linear
    layer, which training starts as a learned whitening, a norm, and the mix of EfficientVPR's
    SGFS to rows of `dim` values. 0.16 M parameters and 0.5 % of a backbone's time on 384 channels.
    With `whitened` directions above 0, a PartialWhitening of the whole ends it.
    """

    def __init__(self, dim: int, queries: int = 32, rows: int = 9, whitened: int = 0) -> None:
        super().__init__()
        self.ask = nn.Linear(dim, queries)
        self.whiten = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.mix = nn.Linear(queries, rows)
        self.descriptor_size = rows * dim
        self.whitening = PartialWhitening(rows * dim, whitened) if whitened else None

    def pick(self, patches: Tensor) -> Tensor:
        """Patches (B, N, C) to what each query picks, (B, Q, C)."""
        share = self.ask(patches).transpose(1, 2).softmax(dim=2)  # (B, Q, N)
        picked: Tensor = torch.matmul(share.to(patches.dtype), patches)
        return picked

    def forward(self, tokens: Tokens) -> Tensor:
        """Descriptors (B, descriptor_size) of unit length."""
        found = self.norm(self.whiten(self.pick(tokens.patches)))
        rows = self.mix(found.transpose(1, 2)).transpose(1, 2)  # (B, rows, C)
        whole = rows.flatten(1)
        if self.whitening is not None:
            whitened: Tensor = self.whitening(whole)
            return whitened
        return F.normalize(whole, dim=1)
