# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One part of a recipe: what is trained, how, for how long and at which rates."""

from __future__ import annotations

import dataclasses
from typing import Any

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.training.dial import DialConfig
from vpr_ros.training.sampler import SamplerConfig

END_TO_END, POOLED, DISTIL = METHODS = ("end_to_end", "pooled", "distil")
COSINE, STEPS = SCHEDULES = ("cosine", "steps")
DENSE, TEACHER, RELATIONS = TARGETS = ("dense", "teacher", "relations")
LAST, ALL = LAYERS = ("last", "all")


@dataclasses.dataclass(frozen=True)
class StageConfig(Config):
    """A stage's method, length and rates; the defaults are EfficientVPR's.

    `end_to_end` trains descriptors on images. `pooled` does so on the tokens of a fixed set of
    views, which the frozen backbone computes once: three times as fast on a CPU. `distil` draws
    the backbone's patch tokens towards a teacher's.
    """

    name: str = param("all", "name, in the log")
    method: str = param(END_TO_END, "how it trains", choices=METHODS)
    tokens: int = param(0, "views whose tokens are computed once (pooled)", minimum=0)
    epochs: int = param(30, "epochs", minimum=1)
    trained_blocks: int = param(
        0, "last blocks that are trained; as many as there are: the whole backbone", minimum=0
    )
    rate_heads: float = param(2e-4, "AdamW's rate of heads", minimum=0.0)
    rate_prompts: float = param(2e-2, "AdamW's rate of the prompts", minimum=0.0)
    rate_blocks: float = param(1e-5, "AdamW's rate of the backbone's blocks", minimum=0.0)
    rate_vectors: float = param(
        0.0, "AdamW's rate of the blocks' norms and biases; 0: that of the blocks", minimum=0.0
    )
    schedule: str = param(STEPS, "how the rates fall", choices=SCHEDULES)
    decay: float = param(0.8, "factor on all rates (steps)", minimum=0.0, maximum=1.0)
    decay_every: int = param(5, "epochs between two decays (steps)", minimum=1)
    warm_up: int = param(0, "batches in which the rates rise from 0", minimum=0)
    weight_decay: float = param(0.0, "AdamW's weight decay", minimum=0.0)
    clip: float = param(0.0, "greatest norm of the gradient; 0: any", minimum=0.0)
    layers: str = param(
        LAST, "whose tokens are drawn: the last block's, or all blocks' (distil)", choices=LAYERS
    )
    fit: int = param(
        0,
        "batches of 32 places x 3 views that the head is fitted to before the first step; if an "
        "earlier stage did so, the teacher's alone",
        minimum=0,
    )
    whiten: int = param(
        0,
        "batches of 32 places x 3 views that the last layer of head 'queries-whitened' is fitted "
        "to after the last step",
        minimum=0,
    )
    consistency: float = param(
        0.0, "weight of the pull of all sparsities' descriptors to one target", minimum=0.0
    )
    target: str = param(
        DENSE,
        "that target: the image's own descriptor at 0, the teacher's, or the teacher's cosines of "
        "all pairs in the batch, which need not be as long",
        choices=TARGETS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.tokens > 0) != (self.method == POOLED):
            raise ConfigError(
                f"Stage '{self.name}' has method '{self.method}' and tokens {self.tokens}; give "
                "tokens above 0 with 'pooled', and with no other."
            )
        if self.consistency and self.method != END_TO_END:
            raise ConfigError(
                f"Stage '{self.name}' has method '{self.method}' and consistency "
                f"{self.consistency:g}; only '{END_TO_END}' has descriptors to draw together."
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether there is something to learn from a teacher."""
        return self.method == DISTIL or (self.consistency > 0 and self.target != DENSE)


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """A stage with its batches and, for networks with the dial, their sparsities."""

    config: StageConfig
    batch: SamplerConfig
    dial: DialConfig

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StagePlan:
        """StageConfig's parameters, and `batch` and `sparsity` with theirs."""
        rest = dict(values)
        batch = SamplerConfig.from_dict(rest.pop("batch", None) or {})
        dial = DialConfig.from_dict(rest.pop("sparsity", None) or {})
        return cls(StageConfig.from_dict(rest), batch, dial)

    def __post_init__(self) -> None:
        dense = self.dial.dense_views
        if dense and (self.config.method != END_TO_END or dense >= self.batch.views):
            raise ConfigError(
                f"Stage '{self.config.name}' has method '{self.config.method}', views "
                f"{self.batch.views} and dense_views {dense}; give '{END_TO_END}' and fewer of "
                "them than views, or 0."
            )

    @property
    def batches(self) -> int:
        """How many there are in all epochs."""
        return self.config.epochs * self.batch.batches

    def sparsity(self, step: int) -> float:
        """That of batch number `step`."""
        return self.dial.sparsity(step / self.batches, self.batch.seed, step)
