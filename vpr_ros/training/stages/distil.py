# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation of patch tokens from a frozen full-precision teacher."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.networks.ternary_vit import TernaryVit
from vpr_ros.networks.vit import Vit
from vpr_ros.training.stage_config import ALL, StagePlan
from vpr_ros.training.stages.stage import Lesson, Setting, Stage


class Student(nn.Module):
    """A backbone's patch tokens on another grid and, where that differs, of another width."""

    def __init__(self, backbone: TernaryVit, width: int) -> None:
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


class Blocks(nn.Module):
    """The tokens after every block of a transformer, of zero mean and unit variance each."""

    def __init__(self, backbone: Vit | TernaryVit) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor, *sparsity: float) -> list[Tensor]:
        """Images (B, 3, H, W) to (B, 1 + N, C) for each block."""
        found: list[Tensor] = []
        handles = [
            block.register_forward_hook(lambda _, inputs, output: found.append(output))
            for block in self.backbone.blocks
        ]
        try:
            self.backbone(images, *sparsity)
        finally:
            for handle in handles:
                handle.remove()
        return [F.layer_norm(x.float(), x.shape[-1:]) for x in found]


class Distil(Stage):
    """Mean squared error between patch tokens (TAT-VPR, arXiv 2505.16447, stage 1).

    `layers: all` compares the tokens after every block instead, all alike, each of unit variance:
    a start near the teacher is then held near it everywhere, which takes fewer steps. The teacher
    must be a transformer of the same blocks.

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
        network.requires_grad_(False)
        network.backbone.requires_grad_(True)
        self._projection: nn.Module | None = None
        if plan.config.layers == ALL:
            self.module: nn.Module = Blocks(network.backbone)
            self._wanted = Blocks(self._matching(network.backbone))
            return
        probe = next(network.parameters()).new_zeros(1, 3, setting.run.height, setting.run.width)
        width = self._teacher.tokens(probe).patches.shape[2]
        own = network.config.dim
        if width != own and not setting.projection:
            raise ConfigError(
                f"The teacher's tokens have {width} values, the student's {own}. Allow the "
                "recipe's 'projection', or give a teacher of that width."
            )
        student = Student(network.backbone, width)
        self.module, self._projection = student, student.projection

    def _matching(self, backbone: TernaryVit) -> Vit:
        """The teacher's transformer, if its blocks are those of the student's."""
        found, own = self._teacher.module, backbone.config
        if not isinstance(found, Vit) or (found.config.dim, found.config.depth) != (
            own.dim, own.depth
        ):  # fmt: skip
            raise ConfigError(
                f"Stage '{self._plan.config.name}' compares all blocks; its teacher must be a "
                f"'backbone' of dim {own.dim} and depth {own.depth}, as the student is."
            )
        return found

    @property
    def extra(self) -> nn.Module | None:
        """The projection, which nothing needs after this stage."""
        return self._projection

    def learn(self, module: nn.Module, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """Images (B, 3, H, W); the labels say nothing here."""
        sparsity = self._plan.sparsity(step)
        module.train()
        if self._plan.config.layers == ALL:
            return self._learn_blocks(module, inputs, sparsity)
        with self._setting.accelerator.autocast():
            wanted = self._teacher.tokens(inputs)
            found = module(inputs, sparsity, wanted.grid)
        found, target = found.float(), wanted.patches.float()
        cosine = F.cosine_similarity(found.detach(), target, dim=2).mean()
        return Lesson(
            F.mse_loss(found, target),
            {"sparsity": round(sparsity, 3), "cosine": round(cosine.item(), 4)},
        )

    def _learn_blocks(self, module: nn.Module, images: Tensor, sparsity: float) -> Lesson:
        with self._setting.accelerator.autocast():
            with torch.no_grad():
                wanted = self._wanted(images)
            found = module(images, sparsity)
        losses = [F.mse_loss(x, y) for x, y in zip(found, wanted, strict=True)]
        mean = wanted[-1].mean(dim=(0, 1))
        cosine = F.cosine_similarity(found[-1].detach() - mean, wanted[-1] - mean, dim=2).mean()
        return Lesson(
            torch.stack(losses).sum(),
            {"sparsity": round(sparsity, 3), "cosine": round(cosine.item(), 4)},
        )

    def describe(self, images: Tensor, sparsity: float) -> Tensor:
        """The mean of the patch tokens (B, C), of unit length."""
        with self._setting.accelerator.autocast():
            tokens = self._setting.network.backbone(images, sparsity)
        return F.normalize(tokens.patches.float().mean(dim=1), dim=1)
