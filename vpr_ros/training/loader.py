# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From the sampler's items to batches of tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from vpr_ros.core.images import Image
from vpr_ros.networks.imagenet import MEAN, STD
from vpr_ros.training.augment import AugmentConfig, Augmenter
from vpr_ros.training.image_cache import ImageCache
from vpr_ros.training.places import PlaceSet
from vpr_ros.training.sampler import Item, PlaceSampler, SamplerConfig


@dataclasses.dataclass(frozen=True)
class Share:
    """One source's part of the training."""

    places: PlaceSet
    weight: float = 1.0  # relative to the other sources
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)


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
        return torch.from_numpy(normalise(self.picture(item))), item.label

    def picture(self, item: Item) -> Image:
        """The augmented picture (height, width, 3) uint8 BGR."""
        image = self._cache.read(self._sets[item.source].views[item.place][item.view])
        if item.mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        random = np.random.default_rng(item.seed)
        return self._augmenters[item.source](image, random, self._size)


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
    runs ahead of what was trained on, so keep your own count. `pinned` memory reaches a GPU
    faster.
    """
    sampler = PlaceSampler(
        [share.places for share in shares], [share.weight for share in shares], config
    )
    cache = ImageCache(cache_mb)
    if workers:  # before they start, so that all share one copy
        # OpenCV's threads do not live on in a forked process, which would wait for them for ever.
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


def first_views(
    shares: list[Share], count: int, height: int, width: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What `view_batches` gives, all at once."""
    return list(view_batches(shares, count, height, width))


def view_batches(
    shares: list[Share], count: int, height: int, width: int
) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """`count` batches, images (96, 3, H, W) and labels (96,), to fit something to.

    Three views each of 32 places, or of as many as there are, one place after the other.
    """
    places = min(32, sum(len(share.places) for share in shares))
    batch = SamplerConfig(places=places, views=3, batches=count)
    return make_loader(shares, batch, height, width)[0]


def normalise(image: Image) -> npt.NDArray[np.float32]:
    """(3, H, W) RGB with ImageNet's mean and deviation, as the robot's preprocess computes it."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        np.multiply(image[:, :, 2 - channel], np.float32(1 / (255 * std)), out=planes[channel])
        planes[channel] -= np.float32(mean / std)
    return planes


def _one_thread(_: int) -> None:
    """Workers are the parallelism; OpenCV's own threads would only get in their way."""
    cv2.setNumThreads(1)
