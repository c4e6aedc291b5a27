# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well a network in training recognises places that it is not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import normalised, resized
from vpr_ros.evaluation.image_set import DatasetOptions, ImageSet
from vpr_ros.evaluation.layouts import open_dataset
from vpr_ros.evaluation.search import search
from vpr_ros.networks import MEAN, STD
from vpr_ros.networks.tat_vpr import TatVPR

BATCH = 32
Describe = Callable[[Tensor, float], Tensor]  # images (B, 3, H, W) at a sparsity to (B, D)


@dataclasses.dataclass(frozen=True)
class Budget:
    """The sparsities of the queries and of the map that is searched."""

    query: float
    map: float

    @property
    def name(self) -> str:
        """The budget in the names of measures."""
        if self.query == self.map:
            return f"s={self.query:g}"
        return f"s={self.query:g} in a map of s={self.map:g}"


DENSE = (Budget(0.0, 0.0),)
ALL_BUDGETS = (*DENSE, Budget(0.4, 0.4), Budget(0.6, 0.6), Budget(0.6, 0.0))


def budgets_of(network: nn.Module) -> tuple[Budget, ...]:
    """What to measure: several budgets for a network with a sparsity, otherwise one."""
    return ALL_BUDGETS if isinstance(network, TatVPR) else DENSE


class Validation:
    """Data sets whose recall is measured during training."""

    def __init__(
        self, entries: Sequence[dict[str, Any]], data: Path, height: int, width: int
    ) -> None:
        """`entries`: a `path` below `data` and DatasetOptions; images are resized."""
        self._size = (height, width)
        self.sets: list[ImageSet] = []
        for entry in entries:
            try:
                options = dict(entry)
                path, chosen = data / options.pop("path"), DatasetOptions(**options)
            except (TypeError, ValueError, KeyError) as error:
                raise ConfigError(
                    f"The recipe's validation has {entry!r}; give 'path' and options ({error})."
                ) from None
            self.sets.append(open_dataset(path, chosen))

    def measure(
        self, describe: Describe, device: torch.device, budgets: Sequence[Budget] = DENSE
    ) -> dict[str, float]:
        """For every set "<name> R@1" and "<name> R@100P" in percent, with several budgets each.

        Both are `vpr benchmark`'s: recall at 1, and recall at 100 % precision.
        """
        found = {}
        for image_set in self.sets:
            queries, database = (
                {
                    s: self._descriptors(paths, describe, s, device)
                    for s in sorted({getattr(budget, side) for budget in budgets})
                }
                for paths, side in ((image_set.queries, "query"), (image_set.database, "map"))
            )
            for budget in budgets:
                name = image_set.name + (f" {budget.name}" if len(budgets) > 1 else "")
                judged = image_set.judge(
                    search(queries[budget.query], database[budget.map], image_set.searchable)
                )
                sure = judged.curve.recall_at_full_precision
                found[f"{name} R@1"] = 100 * judged.recall_at(1)
                found[f"{name} R@100P"] = 100 * float(np.nan_to_num(sure))
        return found

    def _descriptors(
        self, paths: Sequence[Path], describe: Describe, sparsity: float, device: torch.device
    ) -> np.ndarray:
        parts = []
        for start in range(0, len(paths), BATCH):
            images = [
                normalised(resized(read_image(path), *self._size), MEAN, STD)
                for path in paths[start : start + BATCH]
            ]
            with torch.no_grad():
                batch = torch.from_numpy(np.stack(images)).to(device)
                parts.append(describe(batch, sparsity).float().cpu().numpy())
        return np.concatenate(parts)
