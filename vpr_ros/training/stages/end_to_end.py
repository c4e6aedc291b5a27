# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of descriptors on images."""

from __future__ import annotations

import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError
from vpr_ros.training.optimiser import open_last_blocks
from vpr_ros.training.recipe import DENSE, TEACHER, LossConfig, StagePlan
from vpr_ros.training.stages.stage import Lesson, Setting, Stage, describer_of, in_chunks


class PlaceLoss(nn.Module):
    """Multi-similarity loss over the pairs that its miner selects (Wang et al., CVPR 2019)."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        similarity = CosineSimilarity()
        self.loss = MultiSimilarityLoss(
            alpha=config.alpha, beta=config.beta, base=config.base, distance=similarity
        )
        self.miner = MultiSimilarityMiner(epsilon=config.epsilon, distance=similarity)
        self.mined = 0.0  # share of the last batch's images that were in a pair

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """Unit descriptors (B, D) and labels (B,) to the loss."""
        pairs = self.miner(descriptors, labels)
        self.mined = len(pairs[0].unique()) / len(labels)
        return self.loss(descriptors, labels, pairs)


class EndToEnd(Stage):
    """Pull views of one place together, push places apart; one target for all sparsities.

    With the multi-similarity loss alone, descriptors at sparsities 0 and 0.6 drift apart, because
    each sparsity is trained on its own. Two things hold them together, so that one map serves all:
    `dense_views` of every place pass at 0, as a map's do, beside the others at the batch's
    sparsity; and `consistency` times the distance to a target that does not depend on the
    sparsity, as the mean of 1 - cosine.
    """

    def __init__(self, setting: Setting, plan: StagePlan) -> None:
        super().__init__(setting, plan)
        self._weight, self._target = plan.config.consistency, plan.config.target
        self._teacher = setting.teacher_for(plan) if plan.config.needs_teacher else None
        open_last_blocks(setting.network, plan.config.trained_blocks)
        self.module = describer_of(setting.network, plan)
        self.loader, self.sampler = setting.images(plan)
        self._places = PlaceLoss(setting.recipe.loss)

    def learn(self, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """Images (P K, 3, H, W)."""
        sparsity = self._plan.sparsity_at(step)
        target = self._target_of(inputs, sparsity)
        self.module.train()
        with self._setting.accelerator.autocast():
            descriptors = self._descriptors(inputs, sparsity).float()
        loss = self._places(descriptors, labels)
        notes = {"mined": round(self._places.mined, 3), "sparsity": round(sparsity, 3)}
        if target is None:
            return Lesson(loss, notes)
        cosine = F.cosine_similarity(descriptors, target, dim=1).mean()
        notes["cosine"] = round(cosine.item(), 4)
        return Lesson(loss + self._weight * (1.0 - cosine), notes)

    def _descriptors(self, images: Tensor, sparsity: float) -> Tensor:
        """The first views of each place at 0, the others at `sparsity`."""
        views = torch.arange(len(images)) % self._plan.batch.views
        dense = views < self._plan.sparsity.dense_views
        if sparsity == 0.0 or not dense.any():
            return self._chunks(images, sparsity)
        parts = [self._chunks(images[dense], 0.0), self._chunks(images[~dense], sparsity)]
        order = torch.cat([dense.nonzero(), (~dense).nonzero()]).flatten().argsort()
        return torch.cat(parts)[order]

    def _chunks(self, images: Tensor, sparsity: float) -> Tensor:
        chunk = self._setting.recipe.run.chunk
        return in_chunks(self.module, images, sparsity, chunk=chunk)

    def _target_of(self, images: Tensor, sparsity: float) -> Tensor | None:
        """The target descriptors (B, D); None if there is no such loss."""
        if not self._weight or (self._target == DENSE and sparsity == 0.0):
            return None
        if self._teacher is None:
            self._setting.network.eval()
            with torch.no_grad():
                return self.describe(images, 0.0).float()
        with self._setting.accelerator.autocast():
            target = self._teacher.descriptors(images).float()
        size = self._setting.network.descriptor_size
        if self._target == TEACHER and target.shape[1] != size:
            raise ConfigError(
                f"The teacher's descriptors have {target.shape[1]} values, the student's {size}. "
                "Give target 'dense', or a teacher with the same head."
            )
        return target
