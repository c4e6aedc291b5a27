# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ways of training by name."""

from __future__ import annotations

import copy
import dataclasses

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.training.closed_form import StartConfig
from vpr_ros.training.loader import first_views
from vpr_ros.training.query_pool_fit import fit_query_pool
from vpr_ros.training.stage_config import DISTIL, END_TO_END, POOLED, TEACHER, StagePlan
from vpr_ros.training.stages.distil import Distil
from vpr_ros.training.stages.end_to_end import EndToEnd
from vpr_ros.training.stages.pooled import Pooled
from vpr_ros.training.stages.stage import Setting, Stage
from vpr_ros.training.teacher import HeadedVit, Teacher

STAGES: dict[str, type[Stage]] = {END_TO_END: EndToEnd, POOLED: Pooled, DISTIL: Distil}


def make_stage(setting: Setting, plan: StagePlan) -> Stage:
    """The stage of `plan`, ready to train; ConfigError if it does not fit the network."""
    return STAGES[plan.config.method](setting, plan)


def with_fitted_head(
    setting: Setting, plan: StagePlan, config: StartConfig, fresh: bool
) -> Setting:
    """The setting of a stage whose head is fitted before its first step, if `fresh` is that.

    To the student's tokens at both ends of the dial; where the teacher's descriptors are the
    target, to the teacher's tokens, as a head for both.
    """
    if not plan.config.fit:
        return setting
    network = setting.network
    if not isinstance(network, TatVPR):
        raise ConfigError(
            f"Stage '{plan.config.name}' has 'fit' {plan.config.fit}; it is for tat-vpr, give 0."
        )
    taught = plan.config.target == TEACHER and plan.config.needs_teacher
    if not (fresh or taught):
        return setting
    device = setting.accelerator.device
    batches = [
        (images.to(device), labels.to(device))
        for images, labels in first_views(
            setting.shares, plan.config.fit, setting.run.height, setting.run.width
        )
    ]
    network.eval()
    if not taught:
        sparsities = (0.0, plan.dial.high) if plan.dial.high else (0.0,)
        fit_query_pool(network.head, network.backbone, batches, sparsities, config)
    else:
        teacher = HeadedVit(setting.teacher_for(plan).module, copy.deepcopy(network.head))
        fit_query_pool(
            teacher.head, lambda images, _: teacher.backbone(images), batches, (0.0,), config
        )
        setting = dataclasses.replace(setting, teacher=Teacher(teacher, device))
        if fresh:
            network.head.load_state_dict(teacher.head.state_dict())
    setting.say(f"Head fitted in closed form to {sum(len(own) for _, own in batches)} views.")
    return setting
