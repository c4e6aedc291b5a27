# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From pictures on disk to batches of tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image, normalised, resized
from vpr_ros.networks import MEAN, STD
from vpr_ros.training.augment import AugmentConfig, Augmenter
from vpr_ros.training.places import PlaceSet, View
from vpr_ros.training.recipe import RunConfig
from vpr_ros.training.sampler import Item, PlaceSampler, SamplerConfig

SHORT_SIDE = 288  # px; a little more than the largest training size, 266


@dataclasses.dataclass(frozen=True)
class Share:
    """One source's part of the training."""

    places: PlaceSet
    weight: float = 1.0  # relative to the other sources
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)


class PlaceDataset(Dataset[tuple[torch.Tensor, int]]):
    """Items to augmented network inputs (3, height, width) float32, RGB, and their labels.

    Decoded pictures are kept up to the run's `cache_mb`; each worker process has its part of it.
    """

    def __init__(self, shares: Sequence[Share], run: RunConfig) -> None:
        self._sets = [share.places for share in shares]
        self._augmenters = [Augmenter(share.augment) for share in shares]
        self._size = (run.height, run.width)
        self._left = run.cache_mb * 10**6 // max(1, run.workers)  # bytes
        self._held: dict[str, Image] = {}

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, int]:
        image = self._read(self._sets[item.source].views[item.place][item.view])
        random = np.random.default_rng(item.seed)
        seen = self._augmenters[item.source](image, random, self._size)
        return torch.from_numpy(normalised(seen, MEAN, STD)), item.label

    def _read(self, view: View) -> Image:
        """The shrunk picture (H, W, 3) BGR; ImageError if it cannot be read."""
        if not isinstance(view, str):
            return shrink(view)
        image = self._held.get(view)
        if image is None:
            image = shrink(read_image(Path(view)))
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._held[view] = image
        return image


def shrink(image: Image) -> Image:
    """The whole picture with a short side of SHORT_SIDE; smaller pictures unchanged."""
    scale = SHORT_SIDE / min(image.shape[:2])
    if scale >= 1.0:
        return image
    return resized(image, round(image.shape[0] * scale), round(image.shape[1] * scale))


def make_loader(
    shares: Sequence[Share], batch: SamplerConfig, run: RunConfig
) -> tuple[DataLoader[tuple[torch.Tensor, torch.Tensor]], PlaceSampler]:
    """Batches of pictures (P K, 3, height, width) and labels (P K,), and their sampler.

    The batches do not depend on the number of workers. To resume, set the sampler's `step`; with
    workers it runs ahead of training, so keep a count of your own.
    """
    sampler = PlaceSampler(
        [share.places for share in shares], [share.weight for share in shares], batch
    )
    if run.workers:
        # A forked process has none of OpenCV's threads and would wait for them forever.
        cv2.setNumThreads(1)
    loader = DataLoader(
        PlaceDataset(shares, run),
        batch_sampler=sampler,
        num_workers=run.workers,
        persistent_workers=run.workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_one_thread,
    )
    return loader, sampler


def view_batches(
    shares: Sequence[Share], count: int, run: RunConfig
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """`count` batches, images (96, 3, H, W) and labels (96,), for fits in closed form.

    Three views each of 32 places, or of as many as there are, views of one place together.
    """
    places = min(32, sum(len(share.places) for share in shares))
    batch = SamplerConfig(places=places, views=3, batches=count)
    return make_loader(shares, batch, dataclasses.replace(run, workers=0))[0]


def _one_thread(_: int) -> None:
    """The worker processes are the parallelism; OpenCV's threads would compete with them."""
    cv2.setNumThreads(1)
