# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation of tokens from a frozen full-precision teacher."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.tat_vpr import TatVPR, TernaryVit
from vpr_ros.networks.vit import Vit
from vpr_ros.training.recipe import ALL, StagePlan
from vpr_ros.training.stages.stage import Lesson, Setting, Stage, in_chunks


class ProjectedPatches(nn.Module):
    """A backbone's patch tokens, resampled to another grid and projected to another width."""

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


class BlockTokens(nn.Module):
    """The tokens after every block of a transformer, each with zero mean and unit variance."""

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

    `layers: all` instead compares the tokens after every block, normalised to unit variance: a
    student that starts near its teacher then stays near it in every block, which takes fewer
    steps. The teacher must be a transformer with as many blocks of the same width.

    The whole backbone of the student is trained, its head is not. Validation therefore judges the
    mean of the patch tokens.
    """

    judged = False

    def __init__(self, setting: Setting, plan: StagePlan) -> None:
        super().__init__(setting, plan)
        network = setting.network
        if not isinstance(network, TatVPR):
            raise ConfigError(
                f"Stage '{plan.config.name}' distils into {type(network).__name__}; only "
                "tat-vpr can be the student."
            )
        self._teacher = setting.teacher_for(plan)
        self.loader, self.sampler = setting.images(plan)
        network.requires_grad_(False)
        network.backbone.requires_grad_(True)
        self._teacher_blocks: BlockTokens | None = None
        if plan.config.layers == ALL:
            self.module = BlockTokens(network.backbone)
            self._teacher_blocks = BlockTokens(self._matching(network.backbone))
            return
        run = setting.recipe.run
        probe = next(network.parameters()).new_zeros(1, 3, run.height, run.width)
        student = ProjectedPatches(network.backbone, self._teacher.tokens(probe).patches.shape[2])
        self.module, self.extra = student, student.projection

    def _matching(self, backbone: TernaryVit) -> Vit:
        """The teacher's transformer, if its blocks match the student's."""
        found, own = self._teacher.module, backbone.config
        if not isinstance(found, Vit) or (found.config.dim, found.config.depth) != (
            own.dim, own.depth
        ):  # fmt: skip
            raise ConfigError(
                f"Stage '{self._plan.config.name}' compares all blocks; its teacher must be a "
                f"'backbone' of dim {own.dim} and depth {own.depth}, like the student."
            )
        return found

    def learn(self, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """Images (B, 3, H, W); the labels are not used."""
        sparsity = self._plan.sparsity_at(step)
        self.module.train()
        with self._setting.accelerator.autocast():
            if self._teacher_blocks is None:
                wanted = self._teacher.tokens(inputs)
                chunk = self._setting.recipe.run.chunk
                found = [
                    in_chunks(self.module, inputs, sparsity, wanted.grid, chunk=chunk).float()
                ]
                targets = [wanted.patches.float()]
                mean = inputs.new_zeros(())
            else:
                with torch.no_grad():
                    targets = self._teacher_blocks(inputs)
                found = self.module(inputs, sparsity)
                mean = targets[-1].mean(dim=(0, 1))
        loss = torch.stack([F.mse_loss(x, y) for x, y in zip(found, targets, strict=True)]).sum()
        cosine = F.cosine_similarity(found[-1].detach() - mean, targets[-1] - mean, dim=2).mean()
        return Lesson(loss, {"sparsity": round(sparsity, 3), "cosine": round(cosine.item(), 4)})

    def describe(self, images: Tensor, sparsity: float) -> Tensor:
        """The mean of the patch tokens (B, C), of unit length."""
        with self._setting.accelerator.autocast():
            tokens = self._setting.network.backbone(images, sparsity)
        return F.normalize(tokens.patches.float().mean(dim=1), dim=1)
