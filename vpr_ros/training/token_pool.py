# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The frozen backbone's tokens of many augmented views, computed once and kept in a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vpr_ros.networks.tokens import Tokens
from vpr_ros.training.loader import PlaceDataset, Share
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.sampler import Item

BATCH = 32
ROWS_FILE = "tokens.f16"
STATE_FILE = "tokens.json"


@dataclasses.dataclass(frozen=True)
class PooledViews:
    """For every source and place, which rows of the pool are its views."""

    first: tuple[np.ndarray, ...]  # per source the first row of each place
    views: tuple[int, ...]  # per source the views of each place

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(sum(len(f) * v for f, v in zip(self.first, self.views, strict=True)))

    def row(self, item: Item) -> int:
        """Where the tokens of a sampler's item lie."""
        return int(self.first[item.source][item.place]) + item.view


def plan_views(shares: Sequence[Share], count: int, least: int = 4) -> PooledViews:
    """About `count` views, shared among sources by weight, equally among a source's places."""
    total = sum(share.weight for share in shares)
    first, views, start = [], [], 0
    for share in shares:
        places = len(share.places)
        each = max(least, round(count * share.weight / total / places))
        first.append(start + each * np.arange(places))
        views.append(each)
        start += each * places
    return PooledViews(tuple(first), tuple(views))


def pooled_sets(shares: Sequence[Share], plan: PooledViews) -> list[PlaceSet]:
    """The same places whose views are now those of the pool, for the sampler."""
    return [
        dataclasses.replace(share.places, views=[range(each)] * len(share.places))
        for share, each in zip(shares, plan.views, strict=True)
    ]


def fill_pool(
    folder: Path,
    images: PlaceDataset,
    sets: Sequence[PlaceSet],
    plan: PooledViews,
    backbone: Callable[[Tensor], Tokens],
    device: torch.device,
    seed: int,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Rows (R, P + N, C) float16, the prompts' tokens before the patches', and the grid.

    Goes on where an earlier call was cut off. Views beyond those a place really has are other
    augmentations of the same ones.
    """
    items = [
        Item(source, place, view % len(sets[source].views[place]), 0, False, seed * 10**9 + row)
        for source, first in enumerate(plan.first)
        for place in range(len(first))
        for view in range(plan.views[source])
        for row in [int(first[place]) + view]
    ]
    state_path = folder / STATE_FILE
    state = json.loads(state_path.read_text()) if state_path.is_file() else {"done": 0}
    rows: np.ndarray | None = None
    grid = tuple(state.get("grid", ()))
    if state["done"]:
        rows = np.memmap(folder / ROWS_FILE, np.float16, "r+", shape=tuple(state["shape"]))
    with torch.no_grad():
        for start in range(state["done"], len(items), BATCH):
            part = items[start : start + BATCH]
            tokens = backbone(torch.stack([images[item][0] for item in part]).to(device))
            parts = (
                [tokens.patches] if tokens.prompts is None else [tokens.prompts, tokens.patches]
            )
            found = torch.cat(parts, dim=1).half().cpu().numpy()
            if rows is None:
                shape = (len(items), *found.shape[1:])
                rows = np.memmap(folder / ROWS_FILE, np.float16, "w+", shape=shape)
                grid = tokens.grid
            rows[start : start + len(part)] = found
            state = {"done": start + len(part), "shape": rows.shape, "grid": grid}
            state_path.write_text(json.dumps(state))
            tick(state["done"], len(items))
    assert rows is not None
    return rows, (int(grid[0]), int(grid[1]))


class PooledDataset(Dataset[tuple[Tensor, int]]):
    """A sampler's items to their tokens (P + N, C) and labels."""

    def __init__(self, rows: np.ndarray, plan: PooledViews) -> None:
        self._rows = rows
        self._plan = plan

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        return torch.from_numpy(np.array(self._rows[self._plan.row(item)])), item.label


class AfterBackbone(nn.Module):
    """The network from tokens on: rows (B, P + N, C) of the pool to descriptors."""

    def __init__(self, network: nn.Module, prompts: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self._prompts = prompts
        self._grid = grid

    def forward(self, rows: Tensor) -> Tensor:
        """(B, P + N, C) to (B, D)."""
        rows = rows.float()
        prompts, patches = rows[:, : self._prompts], rows[:, self._prompts :]
        # No head reads the class token.
        return self.network.describe(Tokens(patches.mean(1), patches, self._grid, prompts))
