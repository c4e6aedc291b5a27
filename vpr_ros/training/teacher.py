# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The frozen network that a student learns from."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.checkpoint import is_checkpoint, load_checkpoint
from vpr_ros.networks.dinov2_weights import dinov2_of
from vpr_ros.networks.heads.pooling import QueryPool
from vpr_ros.networks.vit import Tokens, Vit, VitConfig
from vpr_ros.training.descriptor_teacher import DescriptorTeacher, OnnxDescriptors
from vpr_ros.training.initial_network import load_backbone
from vpr_ros.training.recipe import TeacherConfig


def load_teacher(config: TeacherConfig, data: Path) -> nn.Module | None:
    """The teacher as a module, None if none is named; paths are relative to `data`.

    ConfigError or ModelError if its file is missing or does not fit.
    """
    network = None
    if config.checkpoint:
        path = data / config.checkpoint
        if not path.is_file():
            raise ConfigError(
                f"Teacher {path} does not exist. Train one first, or give another by --teacher."
            )
        network = load_checkpoint(path)[0]
    if config.descriptors:
        first = OnnxDescriptors(data / config.descriptors, (config.side, config.side))
        return DescriptorTeacher(first, network, config.share, config.kept)
    if network is not None:
        return network
    if config.backbone:
        vit = Vit(VitConfig(dim=config.dim, heads=config.heads, depth=config.depth))
        load_backbone(vit, config.backbone, data)
        return vit
    return None


def read_teacher(path: Path) -> nn.Module:
    """The network of a checkpoint, or the transformer in a file of DINOv2's weights.

    DINOv2 as released, or as DINOv2-BoQ and DINOv2-SALAD trained it; their aggregators are left
    out, since a teacher of tokens needs none. ModelError if the file is neither.
    """
    return load_checkpoint(path)[0] if is_checkpoint(path) else dinov2_of(path)


class Teacher:
    """What a stage asks of a teacher: tokens and descriptors, without gradients.

    The module returns Tokens, itself or by its `backbone`: any network of this package, or `Vit`.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module = module.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tokens:
        """Tokens of normalised images (B, 3, H, W)."""
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
                f"The teacher, {type(self.module).__name__}, has no descriptors; give the "
                "checkpoint of a whole network, or target 'dense'."
            )
        return found


class HeadedVit(nn.Module):
    """A copy of a transformer under a head `queries`, so that it can teach descriptors.

    The last norm loses its gains, which were learned for the last block of the whole backbone.
    ConfigError if `backbone` is not a full-precision transformer.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        if not isinstance(backbone, Vit):
            raise ConfigError(
                f"A head can be fitted to a plain transformer, not to {type(backbone).__name__}; "
                "give the teacher as 'backbone', or target 'dense'."
            )
        self.backbone, self.head = copy.deepcopy(backbone), QueryPool(backbone.config.dim)
        nn.init.ones_(self.backbone.norm.weight)
        nn.init.zeros_(self.backbone.norm.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to unit (B, D)."""
        found: Tensor = self.head(self.backbone(images))
        return found
