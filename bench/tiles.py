# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which tokens should share their channels: the same short training for every rule, then recall.

python -m bench.tiles --data TRAINING_DATA --sets ../shared/data
python -m bench.tiles --data TRAINING_DATA --sets ../shared/data --only 4x4 image

All rules start from one ternary student, fitted in closed form, and see the same batches at the
same sparsities; then each gets a head, fitted in closed form to its tokens. `fixed` is the same
channels for every image: those with most votes over the training images, layer by layer. A rule
that is done is not trained again. Speeds: `make bench-kernels`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from vpr_ros.core.errors import VprError
from vpr_ros.networks.checkpoint import load_checkpoint, save_checkpoint
from vpr_ros.networks.sparse_ternary_linear import SparseTernaryLinear
from vpr_ros.networks.structured_topk import keep_largest, kept_channels, tile_scores
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig
from vpr_ros.networks.tiles import IMAGE, Tiles
from vpr_ros.training.build import build
from vpr_ros.training.loader import first_views
from vpr_ros.training.loop import LAST, Run
from vpr_ros.training.query_pool_fit import fit_query_pool
from vpr_ros.training.recipe import Recipe
from vpr_ros.training.teacher import load_teacher
from vpr_ros.training.train_command import find_recipe, read_shares, start
from vpr_ros.training.validation import Budget, Validation

RECIPE = "tat-vpr-s-tiles"
MASK = "vpr_ros.networks.sparse_ternary_linear.channel_mask"
FIXED = "fixed"
RULES = ("1x1", "4x4", "4x8", "6x8", IMAGE, FIXED)
BUDGETS = (*(Budget(s, s) for s in (0.0, 0.2, 0.4, 0.6)), Budget(0.6, 0.0))
SETS: tuple[dict[str, Any], ...] = (
    {"path": "ie_tower"},
    {"path": "corridor", "frames": 2},
    {"path": "campus_robot"},
    {"path": "rtabmap_samples"},
)
HEAD_BATCHES = 8


def measure(rule: str, recipe: Recipe, data: Path, sets: Path, output: Path) -> dict[str, float]:
    """Train a rule and measure it, unless that was done."""
    done = output / rule / "measures.json"
    if not done.is_file():
        shares = read_shares(recipe, data)
        teacher = load_teacher(recipe.teacher, data)
        begin = output / "start.pt"
        if not begin.is_file():
            network = build(recipe, data, teacher)
            start(network, teacher, recipe, shares, lambda text: None)
            output.mkdir(parents=True, exist_ok=True)
            save_checkpoint(begin, network)
        tile = IMAGE if rule == FIXED else rule
        network = TatVPR(TatVPRConfig.from_dict({**recipe.options, "tile": tile}))
        network.load_state_dict(load_checkpoint(begin)[0].state_dict())
        views = first_views(shares, HEAD_BATCHES, recipe.run.height, recipe.run.width)
        with fixed_channels(network, views[0][0]) if rule == FIXED else nullcontext():
            validation = Validation(recipe.validation, data, recipe.run.height, recipe.run.width)
            Run(
                network, recipe, shares, validation, output / rule, lambda text: None, teacher
            ).train()
            network.load_state_dict(load_checkpoint(output / rule / LAST)[0].state_dict())
            fit_query_pool(network.head, network.backbone, views, (0.0, 0.6), recipe.start)
            found = recalls(network, recipe, sets)
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


@contextmanager
def fixed_channels(network: TatVPR, images: Tensor) -> Iterator[None]:
    """Choose, while entered, in every layer the channels with most votes over `images`."""
    votes: dict[int, Tensor] = {}
    current: dict[str, int] = {}

    def count(codes: Tensor, sparsity: object, tiles: Tiles) -> Tensor:
        votes[current["layer"]] = tile_scores(codes, tiles).sum(dim=(0, 1))
        return torch.ones_like(codes)

    def choose(codes: Tensor, sparsity: float, tiles: Tiles) -> Tensor:
        kept = keep_largest(
            votes[current["layer"]][None], kept_channels(sparsity, codes.shape[-1])
        )
        return kept.to(codes).expand_as(codes)

    handles = [
        module.register_forward_pre_hook(lambda module, _: current.update(layer=id(module)))
        for module in network.modules()
        if isinstance(module, SparseTernaryLinear)
    ]
    try:
        with mock.patch(MASK, count), torch.no_grad():
            network.eval()(images, 0.5)
        with mock.patch(MASK, choose):
            yield
    finally:
        for handle in handles:
            handle.remove()


def print_table(rows: dict[str, dict[str, float]]) -> None:
    """R@1 of every rule, set and budget."""
    names = [name for name in next(iter(rows.values())) if name.endswith(" R@1")]
    sets = list(dict.fromkeys(name.split(" s=")[0] for name in names))
    print("| rule | " + " | ".join(sets) + " |")
    print("|:---|" + "---:|" * len(sets))
    for rule, row in rows.items():
        cells = [
            " / ".join(f"{row[f'{name} {budget.name} R@1']:.1f}" for budget in BUDGETS)
            for name in sets
        ]
        print(f"| {rule} | {' | '.join(cells)} |")


def main() -> int:
    """Train, measure and print; 0 unless an input is missing."""
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
