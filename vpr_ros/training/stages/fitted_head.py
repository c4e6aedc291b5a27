# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What of a head is fitted in closed form before a stage's first step."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.heads.query_pool import QueryPool
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.training.closed_form import StartConfig, half
from vpr_ros.training.loader import first_views
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
    teacher = headed(setting, plan).to(device) if taught else None
    network.eval()
    torch.manual_seed(FIT_SEED)
    batches = _views(setting, plan.config.fit)
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
    if fresh:
        network.head.load_state_dict(teacher.head.state_dict())


def headed(setting: Setting, plan: StagePlan) -> HeadedVit:
    """The teacher under a head to be fitted, which ends as the student's does."""
    head = setting.network.head
    alike = plan.config.target == TEACHER and isinstance(head, QueryPool) and head.whitening
    whitened = head.whitening.down.out_features if alike else 0
    return HeadedVit(setting.teacher_for(plan).module, whitened)


def fit_last_layer(setting: Setting, plan: StagePlan, config: StartConfig, begins: bool) -> None:
    """Fit what ends the head before the stage's first step, if the stage says so.

    To the student's descriptors at both ends of the dial and, where they are its goal, to the
    teacher's: whoever saw them and at which budget, views of one place are views of one place.
    The teacher's layer is the student's, so that the goal lies where the student can.
    """
    network, taught = setting.network, setting.teacher and setting.teacher.module
    layer = getattr(getattr(network, "head", None), "whitening", None)
    if plan.config.whiten and layer is None:
        raise ConfigError(
            f"Stage '{plan.config.name}' has 'whiten' {plan.config.whiten}, but the student's "
            "head has nothing to fit. Give the network head 'queries-whitened', or 'whiten' 0."
        )
    if layer is None:
        return
    teacher = taught if isinstance(taught, HeadedVit) and taught.head.whitening else None
    if plan.config.whiten and begins:
        network.eval()
        found, labels = [], []
        with torch.no_grad():
            for images, own in _views(setting, plan.config.whiten):
                with half(images):
                    seen = [network(images, s) for s in dict.fromkeys((0.0, plan.dial.high))]
                    seen += [teacher(images)] if teacher is not None else []
                found += [part.float() for part in seen]
                labels += [own] * len(seen)
        fit_whitening(layer, torch.cat(found), torch.cat(labels), config.shrinkage)
        setting.say(f"Whitening fitted to {sum(map(len, labels))} descriptors.")
    if teacher is not None:
        teacher.head.whitening.load_state_dict(layer.state_dict())


def _views(setting: Setting, count: int) -> list[tuple[Tensor, Tensor]]:
    """`count` batches of images (B, 3, H, W) and labels (B,), on the device."""
    device = setting.accelerator.device
    views = first_views(setting.shares, count, setting.run.height, setting.run.width)
    return [(images.to(device), labels.to(device)) for images, labels in views]
