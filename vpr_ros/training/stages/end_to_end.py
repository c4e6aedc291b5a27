# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of descriptors on images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.training.metric import PlaceLoss
from vpr_ros.training.parameters import open_last_blocks
from vpr_ros.training.stage_config import DENSE, RELATIONS, TEACHER, StagePlan
from vpr_ros.training.stages.stage import Describer, Lesson, Setting, Stage


class EndToEnd(Stage):
    """Views of one place together, places apart; and one target for all sparsities.

    The multi-similarity loss alone would let descriptors at 0 and 0.6 drift apart, as each
    sparsity is trained on its own. Two things hold them together, so that one map serves all
    budgets: `dense_views` of every place pass at 0, as those of a map do, beside the others; and
    `consistency` times the distance to a target that does not depend on the sparsity. That is the
    mean of 1 - cosine to a descriptor, or, with target 'relations', the mean squared difference of
    the cosines of all pairs in the batch (Tung and Mori, ICCV 2019, without their normalisation).
    """

    def __init__(self, setting: Setting, plan: StagePlan) -> None:
        super().__init__(setting, plan)
        self._weight, self._target = plan.config.consistency, plan.config.target
        self._teacher = setting.teacher_for(plan) if plan.config.needs_teacher else None
        open_last_blocks(setting.network, plan.config.trained_blocks)
        self.module = Describer(setting.network)
        if plan.dial.high and not self.module.dial:
            raise ConfigError(
                f"Stage '{plan.config.name}' has sparsity up to {plan.dial.high:g}, but a "
                f"{type(setting.network).__name__} has no dial. Leave 'sparsity' out."
            )
        self.loader, self.sampler = setting.images(plan)
        self._places = PlaceLoss(setting.loss)

    def learn(self, module: nn.Module, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """Images (P K, 3, H, W)."""
        sparsity = self._plan.sparsity(step)
        target = self._target_of(inputs, sparsity)
        module.train()
        with self._setting.accelerator.autocast():
            descriptors = self._descriptors(module, inputs, sparsity)
        descriptors = descriptors.float()
        loss = self._places(descriptors, labels)
        notes = {"mined": round(self._places.mined, 3), "sparsity": round(sparsity, 3)}
        if target is None:
            return Lesson(loss, notes)
        target = target.float()
        if self._target == RELATIONS:
            return Lesson(loss + self._weight * relations_apart(descriptors, target), notes)
        cosine = F.cosine_similarity(descriptors, target, dim=1).mean()
        notes["cosine"] = round(cosine.item(), 4)
        return Lesson(loss + self._weight * (1.0 - cosine), notes)

    def _descriptors(self, module: nn.Module, images: Tensor, sparsity: float) -> Tensor:
        """The first views of each place at 0, the others at `sparsity`."""
        dense = torch.arange(len(images)) % self._plan.batch.views < self._plan.dial.dense_views
        if sparsity == 0.0 or not dense.any():
            found: Tensor = module(images, sparsity)
            return found
        parts = [module(images[dense], 0.0), module(images[~dense], sparsity)]
        order = torch.cat([dense.nonzero(), (~dense).nonzero()]).flatten().argsort()
        return torch.cat(parts)[order]

    def _target_of(self, images: Tensor, sparsity: float) -> Tensor | None:
        """Where the descriptors shall lie (B, D); None if nothing draws them."""
        if not self._weight or (self._target == DENSE and sparsity == 0.0):
            return None
        if self._target == DENSE:
            self._setting.network.eval()
            with torch.no_grad():
                return self.describe(images, 0.0)
        assert self._teacher is not None
        with self._setting.accelerator.autocast():
            target = self._teacher.descriptors(images)
        size = self._setting.network.descriptor_size
        if self._target == TEACHER and target.shape[1] != size:
            raise ConfigError(
                f"The teacher's descriptors have {target.shape[1]} values, the student's {size}. "
                "Give target 'relations' or 'dense', or a teacher with the same head."
            )
        return target


def relations_apart(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of all pairs' cosines in (B, D) and (B, D'), of unit length."""
    return F.mse_loss(found @ found.T, wanted @ wanted.T)
