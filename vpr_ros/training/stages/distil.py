# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation of patch tokens from a frozen full-precision teacher."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.training.stage_config import StagePlan
from vpr_ros.training.stages.stage import Lesson, Setting, Stage


class Student(nn.Module):
    """A backbone's patch tokens on another grid and, where that differs, of another width."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        own = backbone.config.dim
        self.projection = nn.Linear(own, width) if own != width else nn.Identity()

    def forward(self, images: Tensor, sparsity: float, grid: tuple[int, int]) -> Tensor:
        """Images (B, 3, H, W) to tokens (B, h * w, width) of `grid` (h, w)."""
        tokens = self.backbone(images, sparsity)
        plane = self.projection(tokens.patches).transpose(1, 2).unflatten(2, tokens.grid)
        resized = F.interpolate(plane.float(), size=grid, mode="bilinear", align_corners=False)
        return resized.flatten(2).transpose(1, 2)


class Distil(Stage):
    """Mean squared error between patch tokens (TAT-VPR, arXiv 2505.16447, stage 1).

    All of the student's backbone is trained, its head is not. A map needs a descriptor that the
    head cannot give yet: validation judges the mean of the patch tokens.
    """

    judged = False

    def __init__(self, setting: Setting, plan: StagePlan) -> None:
        super().__init__(setting, plan)
        network = setting.network
        if not isinstance(network, TatVPR):
            raise ConfigError(
                f"Stage '{plan.config.name}' distils into a {type(network).__name__}; only "
                "tat-vpr is a student."
            )
        self._teacher = setting.teacher_for(plan)
        self.loader, self.sampler = setting.images(plan)
        probe = next(network.parameters()).new_zeros(1, 3, setting.run.height, setting.run.width)
        width = self._teacher.tokens(probe).patches.shape[2]
        own = network.config.dim
        if width != own and not setting.projection:
            raise ConfigError(
                f"The teacher's tokens have {width} values, the student's {own}. Allow the "
                "recipe's 'projection', or give a teacher of that width."
            )
        network.requires_grad_(False)
        network.backbone.requires_grad_(True)
        self.module = self._student = Student(network.backbone, width)

    @property
    def extra(self) -> nn.Module | None:
        """The projection, which nothing needs after this stage."""
        return self._student.projection

    def learn(self, module: nn.Module, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """Images (B, 3, H, W); the labels say nothing here."""
        sparsity = self._plan.sparsity(step)
        module.train()
        with self._setting.accelerator.autocast():
            wanted = self._teacher.tokens(inputs)
            found = module(inputs, sparsity, wanted.grid)
        found, target = found.float(), wanted.patches.float()
        cosine = F.cosine_similarity(found.detach(), target, dim=2).mean()
        return Lesson(
            F.mse_loss(found, target),
            {"sparsity": round(sparsity, 3), "cosine": round(cosine.item(), 4)},
        )

    def describe(self, images: Tensor, sparsity: float) -> Tensor:
        """The mean of the patch tokens (B, C), of unit length."""
        with self._setting.accelerator.autocast():
            tokens = self._setting.network.backbone(images, sparsity)
        return F.normalize(tokens.patches.float().mean(dim=1), dim=1)
