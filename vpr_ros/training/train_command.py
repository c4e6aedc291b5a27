# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command behind `vpr train`: recipe and data in, checkpoints, log and curves out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.networks.vit import Vit
from vpr_ros.training.build import TEACHER, build
from vpr_ros.training.closed_form import start_in_closed_form
from vpr_ros.training.loader import Share, first_views
from vpr_ros.training.loop import STATE, Run
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.slim_fit import fit_slim
from vpr_ros.training.sources import load_places
from vpr_ros.training.student_fit import fit_student
from vpr_ros.training.teacher import load_teacher
from vpr_ros.training.validation import Validation

RECIPES = Path(__file__).parent / "recipes"


def find_recipe(name: str) -> Path:
    """A recipe of this package by name, or a file."""
    path = Path(name)
    shipped = RECIPES / f"{name}.yaml"
    if path.is_file() or not shipped.is_file():
        return path
    return shipped


def train(
    network: str,
    recipe_name: str,
    data: Path,
    folder: Path,
    minutes: float = float("inf"),
    say: Callable[[str], None] = print,
    teacher: nn.Module | None = None,
) -> bool:
    """Train, or go on with, the run in `folder`; whether the recipe came to its end.

    `teacher` takes the place of the recipe's. Raises ConfigError, DatasetError or ModelError
    before anything is written if recipe, data or weights do not fit.
    """
    recipe = Recipe.read(find_recipe(recipe_name))
    if recipe.network != network:
        raise ConfigError(f"Recipe {recipe_name} trains '{recipe.network}', not '{network}'.")
    if teacher is None and uses_teacher(recipe):
        teacher = load_teacher(recipe.teacher, data)
    if teacher is None and uses_teacher(recipe):
        raise ConfigError(
            f"Recipe {recipe_name} needs a teacher; name one in it, or give its checkpoint by "
            "--teacher."
        )
    shares = read_shares(recipe, data)
    for share in shares:
        places = share.places
        say(f"{places.name}: {len(places)} places, {sum(map(len, places.views))} views")
    validation = Validation(recipe.validation, data, recipe.run.height, recipe.run.width)
    torch.manual_seed(recipe.stages[0].batch.seed)
    built = build(recipe, data, teacher, say)
    if recipe.start.batches and not (folder / STATE).is_file():
        start(built, teacher, recipe, shares, say)
    return Run(built, recipe, shares, validation, folder, say, teacher).train(minutes)


def start(
    network: nn.Module,
    teacher: nn.Module | None,
    recipe: Recipe,
    shares: list[Share],
    say: Callable[[str], None],
) -> None:
    """The recipe's start in closed form."""
    batches = first_views(shares, recipe.start.batches, recipe.run.height, recipe.run.width)
    if isinstance(network, EfficientVPR):
        start_in_closed_form(network, batches, recipe.start, say)
        return
    assert isinstance(network, TatVPR)
    if not isinstance(teacher, Vit):
        raise ConfigError(
            f"The recipe's start fits a student to a transformer, but the teacher is "
            f"{type(teacher).__name__}. Give the teacher as 'backbone', or 'start' batches 0."
        )
    one_view = torch.cat([images[::3] for images, _ in batches])  # of a place
    slim = network.config.dim < teacher.config.dim
    fit = fit_slim if slim else fit_student
    fit(network.backbone, teacher, one_view, recipe.start.sparsities, say)


def uses_teacher(recipe: Recipe) -> bool:
    """Whether a stage, or the weights to start from, need the teacher."""
    fitted = recipe.network == "tat-vpr" and recipe.start.batches > 0
    taught = any(plan.config.needs_teacher for plan in recipe.stages)
    return fitted or taught or recipe.backbone == TEACHER


def read_shares(recipe: Recipe, data: Path) -> list[Share]:
    """The recipe's sources below `data`; of one with a limit that many places, evenly spread."""
    shares = []
    for source in recipe.sources:
        places = load_places(source.layout, data / source.path, source.options)
        if 0 < source.limit < len(places):
            places = places.only(range(0, len(places), -(-len(places) // source.limit)))
        shares.append(Share(places, source.weight, source.augment))
    return shares
