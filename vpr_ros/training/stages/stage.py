# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every training method has in common."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.training.loader import Share, make_loader
from vpr_ros.training.recipe import Recipe, StagePlan
from vpr_ros.training.sampler import PlaceSampler
from vpr_ros.training.teacher import Teacher


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all stages of a run share."""

    network: nn.Module
    teacher: Teacher | None
    shares: list[Share]
    recipe: Recipe
    folder: Path
    accelerator: Accelerator
    say: Callable[[str], None]

    def images(self, plan: StagePlan) -> tuple[DataLoader[Any], PlaceSampler]:
        """Batches of augmented images, and their sampler."""
        return make_loader(self.shares, plan.batch, self.recipe.run)

    def teacher_for(self, plan: StagePlan) -> Teacher:
        """The teacher; ConfigError if there is none."""
        if self.teacher is None:
            raise ConfigError(
                f"Stage '{plan.config.name}' needs a teacher; name one in the recipe's 'teacher', "
                "or give its checkpoint by --teacher."
            )
        return self.teacher


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What one batch teaches: the loss to minimise, and values for the log."""

    loss: Tensor
    notes: dict[str, float]


def in_chunks(module: nn.Module, images: Tensor, *options: Any, chunk: int) -> Tensor:
    """`module(images, *options)` (B, ...), which keeps the activations of `chunk` images at most.

    A loss that compares all images of a batch needs all descriptors, but not all activations:
    those of a chunk are computed again when backpropagation comes to it (Gao et al., RepL4NLP
    2021, with the checkpoints of Chen et al., arXiv 1604.06174). The gradients stay the same, but
    every image passes forward twice. 0: all at once.
    """
    if not chunk or len(images) <= chunk:
        found: Tensor = module(images, *options)
        return found
    parts = images.split(chunk)
    return torch.cat([checkpoint(module, x, *options, use_reentrant=False) for x in parts])


class Stage(abc.ABC):
    """One training method. Its constructor opens what is trained and freezes the rest."""

    judged = True  # whether the network's own descriptors are what it trains
    extra: nn.Module | None = None  # trained besides the network and dropped after the stage
    module: nn.Module  # what a batch passes through; the run wraps it for several processes
    loader: DataLoader[Any]
    sampler: PlaceSampler

    def __init__(self, setting: Setting, plan: StagePlan) -> None:
        self._setting, self._plan = setting, plan

    @abc.abstractmethod
    def learn(self, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """The loss of batch number `step`: `loader`'s inputs (P K, ...) and labels (P K,)."""

    def begin(self) -> None:  # noqa: B027
        """Fit what precedes the first step. A run that continues a stage does not call it."""

    def finish(self) -> None:  # noqa: B027
        """Fit what follows the last step, before validation and the last checkpoint."""

    def describe(self, images: Tensor, sparsity: float) -> Tensor:
        """The descriptors (B, D) that validation judges."""
        with self._setting.accelerator.autocast():
            return Describer(self._setting.network)(images, sparsity)


class Describer(nn.Module):
    """Networks with and without a sparsity, called with the same two arguments."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.sparse = isinstance(network, TatVPR)

    def forward(self, images: Tensor, sparsity: float) -> Tensor:
        """Images (B, 3, H, W) to unit (B, D)."""
        found: Tensor = self.network(images, sparsity) if self.sparse else self.network(images)
        return found


def describer_of(network: nn.Module, plan: StagePlan) -> Describer:
    """The Describer of `network`; ConfigError if the plan has a sparsity and the network none."""
    found = Describer(network)
    if plan.sparsity.high and not found.sparse:
        raise ConfigError(
            f"Stage '{plan.config.name}' has sparsity up to {plan.sparsity.high:g}, but "
            f"{type(network).__name__} has none. Leave 'sparsity' out."
        )
    return found
