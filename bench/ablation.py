# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientVPR's ablations: the same short training for every variant, then its recall.

python -m bench.ablation --data TRAINING_DATA --sets ../shared/data
python -m bench.ablation --data TRAINING_DATA --sets ../shared/data --only full N_p=8

Every variant takes minutes of two cores; one that is done is not trained again, one that was cut
off goes on. Recall is measured on the sets of docs/results.md, images of 168 x 210 px.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.sets import SETS
from vpr_ros.core.errors import VprError
from vpr_ros.networks.accounting import gflop, layer_costs, trainable_parameters
from vpr_ros.networks.checkpoint import load_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.training.loop import LAST
from vpr_ros.training.train_command import find_recipe, train
from vpr_ros.training.validation import Validation

RECIPE = "efficientvpr-s-ablation"
HEIGHT, WIDTH = 168, 210
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "MS-fc": {"features": "ms", "selector": "fc"},
    "MS+OLE-fc": {"features": "ms+ole", "selector": "fc"},
    "MsIA+OLE-fc": {"features": "msia+ole", "selector": "fc"},
    "BoQ block": {"selector": "boq"},
    "VPT-deep": {"tuning": "vpt_deep"},
    "frozen, BoQ block": {"tuning": "frozen", "selector": "boq"},
    "N_p=8": {"prompts": 8},
    "N_p=16": {"prompts": 16},
    "N_p=64": {"prompts": 64},
}


def measure(variant: str, data: Path, sets: Path, folder: Path) -> dict[str, float] | None:
    """Train a variant in `folder` and measure it, unless that was done; None if cut off."""
    done = folder / "measures.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        recipe = yaml.safe_load(find_recipe(RECIPE).read_text())
        recipe["options"].update(VARIANTS[variant])
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        if not train("efficientvpr", str(path), data, folder, say=lambda text: None):
            return None
        network, _ = load_checkpoint(folder / LAST)
        found = recalls(network, sets) | costs(network)
        temporary = folder / "measures.json.part"
        temporary.write_text(json.dumps(found, indent=1))
        os.replace(temporary, done)
    found = json.loads(done.read_text())
    return {name: float(value) for name, value in found.items()}


def recalls(network: torch.nn.Module, sets: Path) -> dict[str, float]:
    """R@1 and R@100P per set, in percent."""

    def describe(images: torch.Tensor, _: float) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            found: torch.Tensor = network(images)
        return found

    return Validation(SETS, sets, HEIGHT, WIDTH).measure(describe, torch.device("cpu"))


def costs(network: torch.nn.Module) -> dict[str, float]:
    """Millions of trained parameters and 1e9 multiply-accumulates at 224 x 224 px."""
    assert isinstance(network, EfficientVPR)
    return {
        "trained, M": trainable_parameters(network) / 1e6,
        "GMAC": gflop(layer_costs(network, 224, 224)) / 2,
    }


def print_table(rows: dict[str, dict[str, float]]) -> None:
    """One line per variant."""
    first = next(iter(rows.values()))
    names = [name.removesuffix(" R@1") for name in first if name.endswith(" R@1")]
    print("| variant | trained, M | GMAC | " + " | ".join(names) + " |")
    print("|:---|" + "---:|" * (2 + len(names)))
    for variant, row in rows.items():
        pairs = [f"{row[f'{name} R@1']:.1f} / {row[f'{name} R@100P']:.1f}" for name in names]
        print(f"| {variant} | {row['trained, M']:.2f} | {row['GMAC']:.2f} | {' | '.join(pairs)} |")


def main() -> int:
    """Train, measure and print; 0 unless an input is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the recipe's sources")
    parser.add_argument("--sets", type=Path, required=True, help="folder of the evaluation's sets")
    parser.add_argument("--output", type=Path, default=Path("checkpoints/ablation"))
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), metavar="VARIANT")
    options = parser.parse_args()
    rows = {}
    try:
        for variant in options.only or VARIANTS:
            folder = options.output / variant.replace(" ", "-").replace(",", "")
            row = measure(variant, options.data, options.sets, folder)
            if row is not None:
                rows[variant] = row
                print(f"{variant}: done", file=sys.stderr)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if rows:
            print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
