# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What of a head is fitted in closed form, before a stage's first step or after its last."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads.query_pool import PartialWhitening, QueryPool
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.training.closed_form import StartConfig, half
from vpr_ros.training.loader import first_views, view_batches
from vpr_ros.training.query_pool_fit import fit_query_pool, fit_whitening
from vpr_ros.training.stage_config import DENSE, TEACHER, StagePlan
from vpr_ros.training.stages.stage import Setting
from vpr_ros.training.teacher import HeadedVit, Teacher

FIT_SEED = 2  # of all stages, so that heads fitted to one teacher in two stages are the same


def with_fitted_head(
    setting: Setting, plan: StagePlan, config: StartConfig, fresh: bool
) -> Setting:
    """The setting of a stage whose head is fitted before its first step, if `fresh` is that.

    To the student's tokens at both ends of the dial. A teacher whose descriptors are wanted gets
    one that is fitted to its own tokens, which is the student's too where it fits.
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
    teacher = HeadedVit(setting.teacher_for(plan).module).to(device) if taught else None
    network.eval()
    torch.manual_seed(FIT_SEED)
    batches = [
        (images.to(device), labels.to(device))
        for images, labels in first_views(
            setting.shares, plan.config.fit, setting.run.height, setting.run.width
        )
    ]
    if teacher is not None:
        fit_query_pool(
            teacher.head, lambda images, _: teacher.backbone(images), batches, (0.0,), config
        )
        setting = dataclasses.replace(setting, teacher=Teacher(teacher, device))
        if shared:
            share_head(network, teacher, fresh)
    if fresh and not shared:
        sparsities = (0.0, plan.dial.high) if plan.dial.high else (0.0,)
        fit_query_pool(network.head, network.backbone, batches, sparsities, config)
    setting.say(f"Head fitted in closed form to {sum(len(own) for _, own in batches)} views.")
    return setting


def share_head(network: TatVPR, teacher: HeadedVit, fresh: bool) -> None:
    """See that the student's head is like the teacher's, and make it the same if `fresh`."""
    like = isinstance(network.head, QueryPool)
    if not like or network.head.descriptor_size != teacher.head.descriptor_size:
        raise ConfigError(
            f"The student's head is '{network.config.head}' on {network.config.dim} channels, the "
            f"one fitted to the teacher 'queries' on {teacher.backbone.config.dim}. Give target "
            "'relations', which compares pairs of images."
        )
    if fresh:  # but for what is fitted at the end
        network.head.load_state_dict({**network.head.state_dict(), **teacher.head.state_dict()})


def last_layer(network: nn.Module, plan: StagePlan) -> PartialWhitening | None:
    """What the stage fits after its last step, if anything; ConfigError if it is not there."""
    if not plan.config.whiten:
        return None
    layer = getattr(getattr(network, "head", None), "whitening", None)
    if not isinstance(layer, PartialWhitening):
        raise ConfigError(
            f"Stage '{plan.config.name}' has 'whiten' {plan.config.whiten}, but its network's "
            "head has nothing to fit. Give head 'queries-whitened', or 'whiten' 0."
        )
    return layer


def fit_last_layer(setting: Setting, plan: StagePlan, config: StartConfig) -> None:
    """Fit what ends the head after the stage's last step, if the stage says so.

    To descriptors at both ends of the dial: at whichever budget, views of a place are views of a
    place.
    """
    layer = last_layer(setting.network, plan)
    if layer is None:
        return
    network = setting.network.eval()
    nn.init.zeros_(layer.up.weight)  # it is fitted to descriptors without it
    device = setting.accelerator.device
    found, labels = [], []
    with torch.no_grad():
        for images, own in view_batches(
            setting.shares, plan.config.whiten, setting.run.height, setting.run.width
        ):
            for sparsity in dict.fromkeys((0.0, plan.dial.high)):
                with half(images.to(device)):
                    found.append(network(images.to(device), sparsity).float())
                labels.append(own.to(device))
    fit_whitening(layer, torch.cat(found), torch.cat(labels), config.shrinkage)
    setting.say(f"Whitening fitted to {sum(map(len, labels))} descriptors.")
