# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The loss that pulls views of one place together and pushes places apart."""

from __future__ import annotations

from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor, nn

from vpr_ros.training.recipe import LossConfig


class PlaceLoss(nn.Module):
    """Multi-similarity loss over the pairs that its miner leaves (Wang et al., CVPR 2019)."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        similarity = CosineSimilarity()
        self.loss = MultiSimilarityLoss(
            alpha=config.alpha, beta=config.beta, base=config.base, distance=similarity
        )
        self.miner = MultiSimilarityMiner(epsilon=config.epsilon, distance=similarity)
        self.mined = 0.0  # share of the batch's images that were in a pair last time

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """Unit descriptors (B, D) and labels (B,) to the loss."""
        pairs = self.miner(descriptors, labels)
        self.mined = len(pairs[0].unique()) / len(labels)  # GSV-Cities' measure of what is left
        return self.loss(descriptors, labels, pairs)
