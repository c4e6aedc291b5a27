# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of a tat-vpr's head that are fitted in closed form, before or after a stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads.pooling import PartialWhitening, QueryPool
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.networks.vit import Tokens
from vpr_ros.training.closed_form import (
    SHARPNESS,
    SHRINKAGE,
    cluster,
    half,
    sample,
    variation_within,
    whiten,
)
from vpr_ros.training.loader import view_batches
from vpr_ros.training.recipe import DENSE, TEACHER, StagePlan
from vpr_ros.training.stages.stage import Setting
from vpr_ros.training.teacher import HeadedVit, Teacher

FIT_SEED = 2  # of all stages, so that two stages fit the same head to one teacher


def with_fitted_head(setting: Setting, plan: StagePlan, fresh: bool) -> Setting:
    """The setting of a stage with `fit`; the student's own head is fitted only if `fresh`.

    A teacher whose descriptors are the target gets a head fitted to its tokens, which becomes the
    student's too if their sizes match. Otherwise the student's head is fitted to its own tokens at
    the lowest and highest sparsity.
    """
    if not plan.config.fit:
        return setting
    network = setting.network
    if not isinstance(network, TatVPR):
        raise ConfigError(
            f"Stage '{plan.config.name}' has 'fit' {plan.config.fit}; it is for tat-vpr, give 0."
        )
    taught = plan.config.target != DENSE and plan.config.needs_teacher
    shared = plan.config.target == TEACHER and taught
    if not (fresh or taught):
        return setting
    device = setting.accelerator.device
    network.eval()
    torch.manual_seed(FIT_SEED)
    views = view_batches(setting.shares, plan.config.fit, setting.recipe.run)
    batches = [(images.to(device), labels.to(device)) for images, labels in views]
    if taught:
        teacher = HeadedVit(setting.teacher_for(plan).module).to(device)
        fit_query_pool(teacher.head, lambda images, _: teacher.backbone(images), batches, (0.0,))
        setting = dataclasses.replace(setting, teacher=Teacher(teacher, device))
        if shared:
            share_head(network, teacher, fresh)
    if fresh and not shared:
        sparsities = (0.0, plan.sparsity.high) if plan.sparsity.high else (0.0,)
        fit_query_pool(network.head, network.backbone, batches, sparsities)
    setting.say(f"Head fitted in closed form to {sum(len(own) for _, own in batches)} views.")
    return setting


def share_head(network: TatVPR, teacher: HeadedVit, fresh: bool) -> None:
    """Check that the student's head matches the teacher's, and copy it if `fresh`."""
    like = isinstance(network.head, QueryPool)
    if not like or network.head.descriptor_size != teacher.head.descriptor_size:
        raise ConfigError(
            f"The student's head is '{network.config.head}' on {network.config.dim} channels, the "
            f"one fitted to the teacher 'queries' on {teacher.backbone.config.dim}. Give the "
            "student that head and width, or target 'dense'."
        )
    if fresh:  # all but the last layer, which is fitted at the end
        network.head.load_state_dict({**network.head.state_dict(), **teacher.head.state_dict()})


@torch.no_grad()
def fit_query_pool(
    head: nn.Module,
    backbone: Callable[[Tensor, float], Tokens],
    batches: Sequence[tuple[Tensor, Tensor]],
    sparsities: Sequence[float],
) -> None:
    """Fit `head` to the tokens that `backbone` makes of batches of images and labels.

    Queries are prototypes of patches. Views of one place at different sparsities count as views of
    one place, so the whitening also reduces what the sparsity changes. ConfigError if the head
    is not a QueryPool.
    """
    if not isinstance(head, QueryPool):
        raise ConfigError(
            f"{type(head).__name__} has no closed form; give head 'queries', or 'fit: 0'."
        )
    tokens = []
    for images, _ in batches:
        for sparsity in sparsities:
            with half(images):
                tokens.append(backbone(images, sparsity).patches)
    labels = torch.cat([own for _, own in batches for _ in sparsities])
    patches = sample(torch.cat([sample(part.flatten(0, 1), 16) for part in tokens]).float())
    mean = patches.mean(dim=0)
    centres = cluster(patches - mean, head.ask.out_features)
    head.ask.weight.copy_(SHARPNESS * centres / (patches - mean).norm(dim=1).mean())
    head.ask.bias.copy_(-(head.ask.weight @ mean))
    found = torch.cat([head.pick(part.float()) for part in tokens])  # (S, Q, C)
    whiten(head.whiten, found, labels)
    head.norm.reset_parameters()
    nn.init.orthogonal_(head.mix.weight)
    nn.init.zeros_(head.mix.bias)


def last_layer(network: nn.Module, plan: StagePlan) -> PartialWhitening | None:
    """The layer that a stage with `whiten` fits after its last step; ConfigError if missing."""
    if not plan.config.whiten:
        return None
    layer = getattr(getattr(network, "head", None), "whitening", None)
    if not isinstance(layer, PartialWhitening):
        raise ConfigError(
            f"Stage '{plan.config.name}' has 'whiten' {plan.config.whiten}, but its network's "
            "head has nothing to fit. Give head 'queries-whitened', or 'whiten' 0."
        )
    return layer


def fit_last_layer(setting: Setting, plan: StagePlan) -> None:
    """Fit the head's last layer after a stage with `whiten`.

    To descriptors at the lowest and the highest sparsity, which count as views of one place.
    """
    layer = last_layer(setting.network, plan)
    if layer is None:
        return
    network = setting.network.eval()
    nn.init.zeros_(layer.up.weight)  # it is fitted to descriptors without it
    device = setting.accelerator.device
    found, labels = [], []
    with torch.no_grad():
        for images, own in view_batches(setting.shares, plan.config.whiten, setting.recipe.run):
            for sparsity in dict.fromkeys((0.0, plan.sparsity.high)):
                with half(images.to(device)):
                    found.append(network(images.to(device), sparsity).float())
                labels.append(own.to(device))
    fit_whitening(layer, torch.cat(found), torch.cat(labels))
    setting.say(f"Whitening fitted to {sum(map(len, labels))} descriptors.")


@torch.no_grad()
def fit_whitening(
    layer: PartialWhitening, descriptors: Tensor, labels: Tensor, shrinkage: float = SHRINKAGE
) -> None:
    """Fit `layer` to unit descriptors (S, D) of places (S,): it acts on the largest directions.

    All other directions keep one gain, the geometric mean of what whitening would give them.
    """
    variances, directions = variation_within(descriptors, labels, shrinkage)
    gains = variances.rsqrt()  # the smallest come last
    count = layer.down.out_features
    others = gains[:-count].log().mean().exp()
    layer.down.weight.copy_(directions[:, -count:].T)
    layer.up.weight.copy_(directions[:, -count:] * (1.0 - gains[-count:] / others))
