# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network that a recipe trains, with the weights that it starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig
from vpr_ros.networks.vit import Vit, VitConfig
from vpr_ros.training.backbones import load_backbone
from vpr_ros.training.parameters import transformer
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.student_start import start_from

RANDOM, TEACHER = "random", "teacher"


def build(
    recipe: Recipe,
    data: Path = Path(),
    teacher: nn.Module | None = None,
    say: Callable[[str], None] = print,
) -> nn.Module:
    """The recipe's network: its backbone with the weights named there, the rest random."""
    if recipe.network == "efficientvpr":
        network = EfficientVPR(EfficientVPRConfig.from_dict(recipe.options))
        if recipe.backbone != RANDOM:
            load_backbone(network.vit, recipe.backbone, data)
        return network
    if recipe.network != "tat-vpr":
        raise ConfigError(
            f"There is no network '{recipe.network}' to train; give efficientvpr or tat-vpr."
        )
    student = TatVPR(TatVPRConfig.from_dict(recipe.options))
    if recipe.backbone != RANDOM:
        source = _source(recipe, data, teacher)
        say(f"{recipe.backbone}: {start_from(student.backbone, source, recipe.first_blocks)}")
    return student


def _source(recipe: Recipe, data: Path, teacher: nn.Module | None) -> Vit:
    """The full-precision transformer whose weights the student starts from."""
    if recipe.backbone != TEACHER:
        vit = Vit(VitConfig(depth=recipe.first_blocks))
        load_backbone(vit, recipe.backbone, data)
        return vit
    found = teacher if teacher is None or isinstance(teacher, Vit) else transformer(teacher)
    if not isinstance(found, Vit):
        raise ConfigError(
            f"Backbone is 'teacher', but the teacher is {type(teacher).__name__}, which has no "
            "full-precision transformer. Give an EfficientVPR or a DINOv2 backbone as teacher."
        )
    return found
