# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of heads on tokens that the frozen backbone computes once and keeps in a file."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.networks.vit import Tokens
from vpr_ros.training.loader import PlaceDataset, Share
from vpr_ros.training.recipe import StagePlan
from vpr_ros.training.sampler import Item, PlaceSampler
from vpr_ros.training.stages.end_to_end import PlaceLoss
from vpr_ros.training.stages.stage import Lesson, Setting, Stage

BATCH = 32
LEAST_VIEWS = 4  # of a place
ROWS_FILE, STATE_FILE = "tokens.f16", "tokens.json"


class Pooled(Stage):
    """Pull views of one place together, push places apart, from the backbone's tokens on."""

    def __init__(self, setting: Setting, plan: StagePlan) -> None:
        super().__init__(setting, plan)
        network = setting.network
        if not isinstance(network, EfficientVPR) or setting.accelerator.num_processes > 1:
            raise ConfigError(
                f"Stage '{plan.config.name}' is 'pooled', which is for efficientvpr in one "
                "process. Give method 'end_to_end'."
            )
        network.requires_grad_(True)
        network.backbone.requires_grad_(False)
        pool = TokenPool(setting.shares, plan.config.tokens)
        network.eval()
        with setting.accelerator.autocast():
            pool.fill(setting, network, plan.batch.seed)
        self.sampler = PlaceSampler(
            [
                dataclasses.replace(share.places, views=[range(views)] * len(share.places))
                for share, views in zip(setting.shares, pool.views, strict=True)
            ],
            [share.weight for share in setting.shares],
            plan.batch,
        )
        self.loader = DataLoader(pool, batch_sampler=self.sampler)
        self.module = AfterBackbone(network, pool.grid)
        self._places = PlaceLoss(setting.recipe.loss)

    def learn(self, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """Tokens (P K, prompts + patches, C)."""
        self.module.train()
        with self._setting.accelerator.autocast():
            descriptors = self.module(inputs)
        loss = self._places(descriptors.float(), labels)
        return Lesson(loss, {"mined": round(self._places.mined, 3)})


class TokenPool(Dataset[tuple[Tensor, int]]):
    """A sampler's items to their tokens (P + N, C), prompts first, and labels.

    About `count` views are shared among the sources by weight, and equally among a source's
    places. Beyond those that a place really has, views are further augmentations of the same.
    """

    def __init__(self, shares: list[Share], count: int) -> None:
        total = sum(share.weight for share in shares)
        self.views = [
            max(LEAST_VIEWS, round(count * share.weight / total / len(share.places)))
            for share in shares
        ]
        sizes = [each * len(s.places) for each, s in zip(self.views, shares, strict=True)]
        self._first = np.concatenate([[0], np.cumsum(sizes)])  # row of each source
        self._rows: np.ndarray | None = None  # (R, P + N, C) float16
        self.grid = (0, 0)

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        assert self._rows is not None
        row = self._first[item.source] + item.place * self.views[item.source] + item.view
        return torch.from_numpy(np.array(self._rows[row])), item.label

    def fill(self, setting: Setting, network: EfficientVPR, seed: int) -> None:
        """Compute all tokens, or those that an earlier call in the run's folder did not."""
        images = PlaceDataset(setting.shares, setting.recipe.run)
        items = [
            (source, place, view % len(share.places.views[place]))
            for source, share in enumerate(setting.shares)
            for place in range(len(share.places))
            for view in range(self.views[source])
        ]
        state_file = setting.folder / STATE_FILE
        state = json.loads(state_file.read_text()) if state_file.is_file() else {"done": 0}
        if state["done"]:
            self._open(setting.folder, state, "r+")
        clock = time.monotonic()
        for start in range(state["done"], len(items), BATCH):
            part = [
                Item(*item, label=0, seed=seed * 10**9 + row)
                for row, item in enumerate(items[start : start + BATCH], start)
            ]
            batch = torch.stack([images[item][0] for item in part])
            with torch.no_grad():
                tokens = network.backbone(batch.to(setting.accelerator.device))
            found = torch.cat([tokens.prompts, tokens.patches], dim=1).half().cpu().numpy()
            state |= {"shape": (len(items), *found.shape[1:]), "grid": tokens.grid}
            if self._rows is None:
                self._open(setting.folder, state, "w+")
            assert self._rows is not None
            self._rows[start : start + len(part)] = found
            state["done"] = start + len(part)
            state_file.write_text(json.dumps(state))
            if start % 1024 == 0 or state["done"] == len(items):
                minutes = (time.monotonic() - clock) / 60
                setting.say(f"tokens {state['done']}/{len(items)}, {minutes:.1f} min")

    def _open(self, folder: Path, state: dict, mode: str) -> None:
        shape = tuple(state["shape"])
        self._rows = np.memmap(folder / ROWS_FILE, np.float16, mode, shape=shape)
        self.grid = (int(state["grid"][0]), int(state["grid"][1]))


class AfterBackbone(nn.Module):
    """The network from tokens on: rows (B, P + N, C) of the pool to descriptors."""

    def __init__(self, network: EfficientVPR, grid: tuple[int, int]) -> None:
        super().__init__()
        self.network, self._grid = network, grid

    def forward(self, rows: Tensor) -> Tensor:
        """(B, P + N, C) to (B, D)."""
        patches = self._grid[0] * self._grid[1]
        prompts, patch_tokens = rows.float().split([rows.shape[1] - patches, patches], dim=1)
        # No head reads the class token.
        tokens = Tokens(patch_tokens.mean(1), patch_tokens, self._grid, prompts)
        return self.network.describe(tokens)
