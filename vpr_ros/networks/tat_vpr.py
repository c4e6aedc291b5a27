# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""TAT-VPR: a ternary transformer with a head, whose cost is a dial at run time."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from vpr_ros.core.config import param
from vpr_ros.networks.heads import HEADS, build_head
from vpr_ros.networks.ternary_vit import TernaryVit, TernaryVitConfig

# Name -> width and heads. `base` is the published reference; the others are sizes for robots.
SIZES = {"base": (768, 12), "small": (384, 6), "tiny": (192, 3)}


@dataclasses.dataclass(frozen=True)
class TatVPRConfig(TernaryVitConfig):
    """Backbone and head of one TAT-VPR network."""

    head: str = param("boq", "what makes the descriptor of the tokens", choices=tuple(HEADS))

    @classmethod
    def of_size(cls, size: str, **changes: object) -> TatVPRConfig:
        """The configuration named `size` in SIZES, with `changes` to other fields."""
        dim, heads = SIZES[size]
        return cls.from_dict({"dim": dim, "heads": heads, **changes})


class TatVPR(nn.Module):
    """TAT-VPR (arXiv 2505.16447), one image to one descriptor at a chosen sparsity."""

    def __init__(self, config: TatVPRConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = TernaryVit(config)
        self.head = build_head(config.head, config.dim, config.grid[0] * config.grid[1])
        self.descriptor_size: int = self.head.descriptor_size

    def forward(self, image: Tensor, sparsity: float | Tensor = 0.0) -> Tensor:
        """Normalised RGB images (B, 3, H, W) to unit descriptors (B, descriptor_size)."""
        return self.head(self.backbone(image, sparsity))
