# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What backpropagation keeps for one image, for the choice of a recipe's `chunk`.

python -m bench.training_memory efficientvpr tat-vpr
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vpr_ros.training.initial_network import RANDOM, make_network
from vpr_ros.training.optimiser import open_last_blocks
from vpr_ros.training.recipe import DISTIL, Recipe
from vpr_ros.training.stages.stage import Describer


def kept_mb(recipe: Recipe, number: int) -> tuple[float, float]:
    """MB that stage `number` of a recipe keeps for each image, and besides, on this CPU.

    Besides: weights as they are multiplied. Tensors that share memory count once, and what the
    optimiser holds does not count.
    """
    network = make_network(dataclasses.replace(recipe, backbone=RANDOM), Path())
    config = recipe.stages[number].config
    distils = config.method == DISTIL
    open_last_blocks(network, 10**9 if distils else config.trained_blocks)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    module: Any = network.backbone if distils else Describer(network)
    module.train()

    def kept(images: int) -> float:
        found: dict[int, Tensor] = {}  # by address; held, so that no address is used twice

        def keep(x: Tensor) -> Tensor:
            found.setdefault(x.untyped_storage().data_ptr(), x)
            return x

        batch = torch.randn(images, 3, recipe.run.height, recipe.run.width)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
            torch.autocast("cpu", torch.bfloat16, enabled=recipe.run.precision != "no"),
        ):
            module(batch, recipe.stages[number].sparsity.high)
        sizes = (x.untyped_storage().nbytes() for at, x in found.items() if at not in weights)
        return sum(sizes) / 1e6

    one, two = kept(1), kept(2)
    return two - one, 2 * one - two


def main(names: list[str]) -> None:
    """Print a row for each stage of each recipe."""
    print("| recipe | stage | images of a batch | besides, GB | for each, MB | for all, GB |")
    print("|:---|:---|---:|---:|---:|---:|")
    for name in names:
        recipe = Recipe.find(name)
        for number, plan in enumerate(recipe.stages):
            size, (each, besides) = plan.batch.places * plan.batch.views, kept_mb(recipe, number)
            total = f"{besides / 1e3:.1f} | {each:.0f} | {(besides + size * each) / 1e3:.1f} |"
            print(f"| {name} | {plan.config.name} | {size} | {total}")


if __name__ == "__main__":
    main(sys.argv[1:])
