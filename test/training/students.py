# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small students and teachers, and recipes that train them."""

import csv

import numpy as np
import torch

from vpr_ros.networks.vit import Vit, VitConfig
from vpr_ros.training.recipe import LossConfig, Recipe, RunConfig, StagePlan

SIDE = 32
TINY = {"image_size": SIDE, "patch_size": 8, "dim": 64, "depth": 3, "heads": 1, "mlp_ratio": 2}
TINY |= {"head": "gem"}
RATES = {"rate_heads": 2e-3, "rate_blocks": 2e-3, "decay": 1.0}
FEW = {"places": 4, "views": 2, "batches": 4}
DISTIL = {"name": "distil", "method": "distil", "epochs": 2, "batch": FEW, **RATES}
DISTIL["sparsity"] = {"low": 0.1, "start": 0.1, "high": 0.6, "dense_share": 0.2}
TUNE = {"name": "tune", "epochs": 2, "trained_blocks": 2, "batch": FEW, **RATES}
TUNE["sparsity"] = {"low": 0.1, "start": 0.6, "high": 0.6, "dense_share": 0.25}
ALIKE = TINY | {"patch_size": 4, "depth": 2, "layout": "dinov2", "scales": "output"}
ALIKE |= {"head": "queries"}
ALL_BLOCKS = {**DISTIL, "layers": "all"}


def recipe_of(*stages, **changes):
    values = {
        "network": "tat-vpr",
        "options": TINY,
        "backbone": "random",
        "run": RunConfig(height=SIDE, width=SIDE, precision="no", threads=1),
        "loss": LossConfig(),
        "stages": tuple(map(StagePlan.from_dict, stages)),
        "sources": (),
        "validation": (),
        "notes": {"name": "tiny"},
    }
    return Recipe(**(values | changes))


def teacher_of(dim=64, patch=4):
    """A random transformer whose branches matter, as in trained ones."""
    torch.manual_seed(7)
    config = VitConfig(
        dim=dim, depth=2, heads=1, mlp_ratio=2, patch_size=patch, position_grid=SIDE // patch
    )
    vit = Vit(config)
    for block in vit.blocks:
        torch.nn.init.constant_(block.scale1.gain, 0.5)
        torch.nn.init.constant_(block.scale2.gain, 0.5)
    return vit.eval()


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return {n for n, value in module.state_dict().items() if not torch.equal(value, before[n])}


def cut_off(begin, cuts=1, atol=1e-5):
    """begin(folder): a run. Whole, and cut off after each of its first steps: both end alike."""
    whole = begin("whole")
    assert whole.train()
    for _ in range(cuts):
        assert not begin("cut").train(stop_after_minutes=0)
    resumed = begin("cut")
    assert resumed.train()
    found = resumed.network.state_dict()
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(found[name], value, atol=atol, rtol=1e-5, msg=name)
    return whole, resumed


def column(run, name):
    with run.log.open(newline="") as file:
        return np.array([row[name] for row in csv.DictReader(file) if row["loss"]], float)
