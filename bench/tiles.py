# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which tokens should share their channels: one student for every rule, then its recall.

python -m bench.tiles --data TRAINING_DATA --sets ../shared/data
python -m bench.tiles --data TRAINING_DATA --sets ../shared/data --only 4x4 image

Every student is fitted to its teacher in closed form under its own rule, on the same images, and
its head to its tokens (docs/training.md): what the rules differ by before any step of training.
Minutes of two cores a rule; one that is done is not fitted again. Speeds: `make bench-kernels`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

from bench.sets import SETS
from vpr_ros.core.errors import VprError
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig
from vpr_ros.networks.tiles import IMAGE, NESTED
from vpr_ros.networks.vit import Vit
from vpr_ros.training.loader import first_views
from vpr_ros.training.query_pool_fit import fit_query_pool
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.student_fit import fit_student
from vpr_ros.training.teacher import load_teacher
from vpr_ros.training.train_command import find_recipe, read_shares
from vpr_ros.training.validation import Budget, Validation

RECIPE = "tat-vpr-s-cpu"
RULES = ("1x1", "4x4", "4x8", "6x8", IMAGE, NESTED)
BUDGETS = (*(Budget(s, s) for s in (0.0, 0.2, 0.4, 0.6)), Budget(0.6, 0.0))
BATCHES, HEAD_BATCHES = 12, 8


def measure(rule: str, recipe: Recipe, data: Path, sets: Path, output: Path) -> dict[str, float]:
    """Fit a student under a rule and measure it, unless that was done."""
    done = output / f"{rule}.json"
    if not done.is_file():
        network = TatVPR(TatVPRConfig.from_dict({**recipe.options, "tile": rule}))
        teacher = load_teacher(recipe.teacher, data)
        assert isinstance(teacher, Vit)
        size = recipe.run.height, recipe.run.width
        views = first_views(read_shares(recipe, data), BATCHES, *size)
        images = torch.cat([some[::3] for some, _ in views])
        fit_student(network.backbone, teacher, images, recipe.start.sparsities)
        fit_query_pool(
            network.head, network.eval().backbone, views[:HEAD_BATCHES], (0.0, 0.6), recipe.start
        )
        found = recalls(network, recipe, sets)
        output.mkdir(parents=True, exist_ok=True)
        temporary = done.with_suffix(".part")
        temporary.write_text(json.dumps(found, indent=1))
        os.replace(temporary, done)
    values = json.loads(done.read_text())
    return {name: float(value) for name, value in values.items()}


def recalls(network: TatVPR, recipe: Recipe, sets: Path) -> dict[str, float]:
    """R@1 and R@100P per set and budget, in percent."""

    def describe(images: Tensor, sparsity: float) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            found: Tensor = network(images, sparsity)
        return found

    validation = Validation(SETS, sets, recipe.run.height, recipe.run.width)
    return validation.measure(describe, torch.device("cpu"), BUDGETS)


def print_table(rows: dict[str, dict[str, float]]) -> None:
    """R@1 of every rule by budget: the mean over the sets, then set by set."""
    names = [name for name in next(iter(rows.values())) if name.endswith(" R@1")]
    sets = list(dict.fromkeys(name.split(" s=")[0] for name in names))
    print("| rule | mean | " + " | ".join(sets) + " |")
    print("|:---|" + "---:|" * (1 + len(sets)))
    for rule, row in rows.items():
        found = [[row[f"{name} {budget.name} R@1"] for budget in BUDGETS] for name in sets]
        means = [sum(values) / len(sets) for values in zip(*found, strict=True)]
        cells = [" / ".join(f"{value:.1f}" for value in values) for values in (means, *found)]
        print(f"| {rule} | {' | '.join(cells)} |")


def main() -> int:
    """Fit, measure and print; 0 unless an input is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recipe's sources")
    parser.add_argument("--sets", type=Path, required=True, help="folder of the evaluation's sets")
    parser.add_argument("--output", type=Path, default=Path("checkpoints/tiles"))
    parser.add_argument("--only", nargs="+", choices=RULES, default=RULES, metavar="RULE")
    options = parser.parse_args()
    rows = {}
    try:
        recipe = Recipe.read(find_recipe(RECIPE))
        for rule in options.only:
            rows[rule] = measure(rule, recipe, options.data, options.sets, options.output)
            print(f"{rule}: done", file=sys.stderr)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if rows:
            print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
