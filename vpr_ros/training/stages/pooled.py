# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training of heads on tokens that the frozen backbone computes once."""

from __future__ import annotations

import time

from torch import Tensor, nn
from torch.utils.data import DataLoader

from vpr_ros.core.errors import ConfigError
from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.training.image_cache import ImageCache
from vpr_ros.training.loader import PlaceDataset
from vpr_ros.training.metric import PlaceLoss
from vpr_ros.training.sampler import PlaceSampler
from vpr_ros.training.stage_config import StagePlan
from vpr_ros.training.stages.stage import Lesson, Setting, Stage
from vpr_ros.training.token_pool import (
    AfterBackbone,
    PooledDataset,
    fill_pool,
    plan_views,
    pooled_sets,
)


class Pooled(Stage):
    """Views of one place together, places apart, from the backbone's tokens on."""

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
        views = plan_views(setting.shares, plan.config.tokens)
        images = PlaceDataset(
            setting.shares, setting.run.height, setting.run.width, ImageCache(setting.run.cache_mb)
        )
        clock = time.monotonic()

        def tick(done: int, total: int) -> None:
            if done % 1024 < 32 or done == total:
                minutes = (time.monotonic() - clock) / 60
                setting.say(f"tokens {done}/{total}, {minutes:.1f} min")

        network.eval()
        with setting.accelerator.autocast():
            rows, grid = fill_pool(
                setting.folder, images, [share.places for share in setting.shares], views,
                network.backbone, setting.accelerator.device, plan.batch.seed, tick,
            )  # fmt: skip
        self.sampler = PlaceSampler(
            pooled_sets(setting.shares, views),
            [share.weight for share in setting.shares],
            plan.batch,
        )
        self.loader = DataLoader(PooledDataset(rows, views), batch_sampler=self.sampler)
        self.module = AfterBackbone(network, rows.shape[1] - grid[0] * grid[1], grid)
        self._places = PlaceLoss(setting.loss)

    def learn(self, module: nn.Module, inputs: Tensor, labels: Tensor, step: int) -> Lesson:
        """Tokens (P K, prompts + patches, C)."""
        module.train()
        with self._setting.accelerator.autocast():
            descriptors = module(inputs)
        loss = self._places(descriptors.float(), labels)
        return Lesson(loss, {"mined": round(self._places.mined, 3)})
