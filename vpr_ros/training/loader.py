# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From pictures on disk to batches of tensors."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vpr_ros.core.images import Image, normalised
from vpr_ros.evaluation.datasets.image_set import read_image
from vpr_ros.networks import MEAN, STD
from vpr_ros.training.augment import AugmentConfig, Augmenter
from vpr_ros.training.places import PlaceSet, View
from vpr_ros.training.sampler import Item, PlaceSampler, SamplerConfig

SHORT_SIDE = 288  # px; a little more than the largest training size, 266


@dataclasses.dataclass(frozen=True)
class Share:
    """One source's part of the training."""

    places: PlaceSet
    weight: float = 1.0  # relative to the other sources
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)


class ImageCache:
    """Reads pictures, shrinks them to a short side, and keeps them up to a limit."""

    def __init__(self, limit_mb: int, short_side: int = SHORT_SIDE) -> None:
        self._left = limit_mb * 10**6
        self._short_side = short_side
        self._held: dict[str, Image] = {}

    def read(self, view: View) -> Image:
        """The picture (H, W, 3) BGR, not a copy; ImageError if it cannot be read."""
        if not isinstance(view, str):
            return shrink(view, self._short_side)
        image = self._held.get(view)
        if image is None:
            image = shrink(read_image(Path(view)), self._short_side)
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._held[view] = image
        return image

    def fill(self, places: PlaceSet) -> None:
        """Read the files of a set in advance if nearly all of them fit, otherwise none."""
        files = [view for views in places.views for view in views if isinstance(view, str)]
        if not files or len(set(files)) * self.read(files[0]).nbytes > self._left:
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(self.read, dict.fromkeys(files)):
                pass

    def freeze(self) -> None:
        """Keep no more pictures: processes started from now on would each keep their own copy."""
        self._left = 0


def shrink(image: Image, short_side: int) -> Image:
    """The whole picture with this short side; smaller pictures unchanged."""
    scale = short_side / min(image.shape[:2])
    if scale >= 1.0:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


class PlaceDataset(Dataset[tuple[torch.Tensor, int]]):
    """Items to network inputs (3, height, width) float32, RGB, and their labels."""

    def __init__(
        self, shares: Sequence[Share], height: int, width: int, cache: ImageCache
    ) -> None:
        self._sets = [share.places for share in shares]
        self._augmenters = [Augmenter(share.augment) for share in shares]
        self._size = (height, width)
        self._cache = cache

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, int]:
        image = self._cache.read(self._sets[item.source].views[item.place][item.view])
        random = np.random.default_rng(item.seed)
        seen = self._augmenters[item.source](image, random, self._size)
        return torch.from_numpy(normalised(seen, MEAN, STD)), item.label


def make_loader(
    shares: Sequence[Share],
    config: SamplerConfig,
    height: int,
    width: int,
    *,
    workers: int = 0,
    cache_mb: int = 2000,
    pinned: bool = False,
) -> tuple[DataLoader[tuple[torch.Tensor, torch.Tensor]], PlaceSampler]:
    """Batches of pictures (P K, 3, height, width) and labels (P K,), and their sampler.

    The batches do not depend on `workers`. To resume, set the sampler's `step`; with workers it
    runs ahead of training, so keep a count of your own. `pinned` memory reaches a GPU faster.
    """
    sampler = PlaceSampler(
        [share.places for share in shares], [share.weight for share in shares], config
    )
    cache = ImageCache(cache_mb)
    if workers:  # before they start, so that all share one copy
        # A forked process has none of OpenCV's threads and would wait for them forever.
        cv2.setNumThreads(1)
        for share in shares:
            cache.fill(share.places)
        cache.freeze()
    loader = DataLoader(
        PlaceDataset(shares, height, width, cache),
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pinned,
        worker_init_fn=_one_thread,
    )
    return loader, sampler


def view_batches(
    shares: list[Share], count: int, height: int, width: int
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """`count` batches, images (96, 3, H, W) and labels (96,), for fits in closed form.

    Three views each of 32 places, or of as many as there are, views of one place together.
    """
    places = min(32, sum(len(share.places) for share in shares))
    batch = SamplerConfig(places=places, views=3, batches=count)
    return make_loader(shares, batch, height, width)[0]


def _one_thread(_: int) -> None:
    """The worker processes are the parallelism; OpenCV's threads would compete with them."""
    cv2.setNumThreads(1)
