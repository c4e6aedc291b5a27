# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training methods by name."""

from __future__ import annotations

from vpr_ros.training.recipe import DISTIL, END_TO_END, MATCH, StagePlan
from vpr_ros.training.stages.distil import Distil
from vpr_ros.training.stages.end_to_end import EndToEnd
from vpr_ros.training.stages.match import Match
from vpr_ros.training.stages.stage import Setting, Stage

STAGES: dict[str, type[Stage]] = {
    END_TO_END: EndToEnd,
    DISTIL: Distil,
    MATCH: Match,
}


def make_stage(setting: Setting, plan: StagePlan) -> Stage:
    """The stage of `plan`, ready to train; ConfigError if it does not fit the network."""
    return STAGES[plan.config.method](setting, plan)
