# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command behind `vpr train`: recipe and data in, checkpoints, log and curves out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.networks.vit import Vit
from vpr_ros.training.closed_form import start_in_closed_form
from vpr_ros.training.initial_network import make_network, taught_head
from vpr_ros.training.loader import Share, view_batches
from vpr_ros.training.loop import STATE, Run
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.sources import read_shares
from vpr_ros.training.student_fit import fit_student
from vpr_ros.training.teacher import load_teacher
from vpr_ros.training.validation import Validation

Say = Callable[[str], None]


def train(
    network: str,
    recipe_name: str,
    data: Path,
    folder: Path,
    minutes: float = float("inf"),
    say: Say = print,
    teacher: nn.Module | None = None,
    backbone: str = "",
) -> bool:
    """Start or continue the run in `folder`; returns whether the recipe is done.

    `teacher` and `backbone` replace the recipe's. Raises ConfigError, DatasetError or ModelError,
    before anything is written, if recipe, data or weights do not fit.
    """
    recipe = Recipe.find(recipe_name)
    if recipe.network != network:
        raise ConfigError(f"Recipe {recipe_name} trains '{recipe.network}', not '{network}'.")
    recipe = dataclasses.replace(recipe, backbone=backbone or recipe.backbone)
    if teacher is None and recipe.needs_teacher:
        teacher = load_teacher(recipe.teacher, data)
        if teacher is None:
            raise ConfigError(
                f"Recipe {recipe_name} needs a teacher; name one in it, or give its checkpoint "
                "by --teacher."
            )
    shares = read_shares(recipe, data)
    for share in shares:
        places = share.places
        say(f"{places.name}: {len(places)} places, {sum(map(len, places.views))} views")
    validation = Validation(recipe.validation, data, recipe.run.height, recipe.run.width)
    torch.manual_seed(recipe.stages[0].batch.seed)
    made = make_network(recipe, data)
    if recipe.start_batches and not (folder / STATE).is_file():
        start(made, teacher, recipe, shares, data, say)
    return Run(made, recipe, shares, validation, folder, say, teacher).train(minutes)


def start(
    network: nn.Module,
    teacher: nn.Module | None,
    recipe: Recipe,
    shares: list[Share],
    data: Path,
    say: Say,
) -> None:
    """Fit the network in closed form to the recipe's `start_batches`."""
    batches = list(view_batches(shares, recipe.start_batches, recipe.run))
    if isinstance(network, EfficientVPR):
        start_in_closed_form(network, batches, say, taught_head(recipe.backbone, data))
        return
    assert isinstance(network, TatVPR)
    if not isinstance(teacher, Vit):
        raise ConfigError(
            f"'start_batches' fits a student to a transformer, but the teacher is "
            f"{type(teacher).__name__}. Give the teacher as 'backbone', or 'start_batches' 0."
        )
    one_view = torch.cat([images[::3] for images, _ in batches])  # of each place
    fit_student(network.backbone, teacher, one_view, say=say)
