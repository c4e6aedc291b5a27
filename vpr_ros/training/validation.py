# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well a network in training recognises places it is not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from vpr_ros.evaluation.datasets.image_set import ImageSet, read_image
from vpr_ros.evaluation.datasets.layouts import open_dataset
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.training.loader import normalise

BATCH = 32
Describe = Callable[[Tensor, float], Tensor]  # images (B, 3, H, W) at a sparsity to (B, D)


@dataclasses.dataclass(frozen=True)
class Budget:
    """The sparsities of the queries and of the map that they are sought in."""

    query: float
    map: float

    @property
    def name(self) -> str:
        """As measures are named."""
        if self.query == self.map:
            return f"s={self.query:g}"
        return f"s={self.query:g} in a map of s={self.map:g}"


DENSE = (Budget(0.0, 0.0),)
DIAL = (*DENSE, Budget(0.4, 0.4), Budget(0.6, 0.6), Budget(0.6, 0.0))


def budgets_of(network: nn.Module) -> tuple[Budget, ...]:
    """What to measure: one budget, or several for a network with the dial."""
    return DIAL if isinstance(network, TatVPR) else DENSE


class Validation:
    """Data sets whose recall is watched."""

    def __init__(
        self, entries: Sequence[dict[str, Any]], data: Path, height: int, width: int
    ) -> None:
        """`entries`: a `path` below `data` and DatasetOptions; images become height x width."""
        self._size = (height, width)
        self.sets: list[ImageSet] = []
        for entry in entries:
            options = dict(entry)
            path = data / options.pop("path")
            self.sets.append(open_dataset(path, DatasetOptions(**options)))

    def measure(
        self, describe: Describe, device: torch.device, budgets: Sequence[Budget] = DENSE
    ) -> dict[str, float]:
        """For every set "<name> R@1" and "<name> R@100P" in percent, with several budgets each.

        R@1 is the share of the queries whose best match is right; R@100P the share that is right
        and scores above every wrong best match: what a threshold could let through.
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
                right, sure = _recalls(image_set, queries[budget.query] @ database[budget.map].T)
                found[f"{name} R@1"], found[f"{name} R@100P"] = right, sure
        return found

    def _descriptors(
        self, paths: Sequence[Path], describe: Describe, sparsity: float, device: torch.device
    ) -> np.ndarray:
        parts = []
        for start in range(0, len(paths), BATCH):
            images = [self._read(path) for path in paths[start : start + BATCH]]
            batch = torch.from_numpy(np.stack(images)).to(device)
            with torch.no_grad():
                parts.append(describe(batch, sparsity).float().cpu().numpy())
        return np.concatenate(parts)

    def _read(self, path: Path) -> np.ndarray:
        image = read_image(path)
        height, width = self._size
        shrinking = image.shape[0] >= height and image.shape[1] >= width
        interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        return normalise(
            np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)
        )


def _recalls(image_set: ImageSet, scores: np.ndarray) -> tuple[float, float]:
    """R@1 and R@100P in percent of scores (Q, N)."""
    if image_set.searchable is not None:
        older = np.arange(scores.shape[1]) < image_set.searchable[:, None]
        scores = np.where(older, scores, -np.inf)
    match, score = scores.argmax(axis=1), scores.max(axis=1)
    right = np.array([m in p for m, p in zip(match, image_set.positives, strict=True)], dtype=bool)
    highest_wrong = score[~right].max(initial=-np.inf)
    return 100 * float(right.mean()), 100 * float((right & (score > highest_wrong)).mean())
