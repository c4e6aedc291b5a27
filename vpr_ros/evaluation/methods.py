# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What can be evaluated: models and baselines behind one interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.core.images import Image
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.baselines import OrbBagOfWords, Thumbnail


class Method(Protocol):
    """A way to describe an image by one vector."""

    name: str
    sparsity_max: float  # 0: full compute only

    def learn(self, count: int, read: Callable[[int], Image]) -> None:
        """Prepare for a database of `count` images; `read(i)` gives image i, BGR."""

    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """Unit descriptor (D,) of a BGR image; zeros for one without content."""


class Model:
    """A model file, run by the robot's own Encoder."""

    def __init__(self, name: str, threads: int = 1) -> None:
        """`name` of a shipped model, or the path of a file; ModelError if there is none."""
        self.encoder = Encoder(find_model(name), threads)
        self.name = self.encoder.contract.name
        self.sparsity_max = self.encoder.contract.sparsity_max

    def learn(self, count: int, read: Callable[[int], Image]) -> None:
        """Do nothing: a model is already trained."""

    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """The Encoder's descriptor."""
        return self.encoder.encode(image, sparsity)


BASELINE_MODEL = "mobilenetv2-gem"  # a network trained on ImageNet, not on places

BASELINES: dict[str, Callable[[], Method]] = {
    Thumbnail.name: Thumbnail,
    OrbBagOfWords.name: OrbBagOfWords,
}


def open_methods(
    models: Sequence[str], threads: int = 1, baselines: bool = True
) -> tuple[list[Model], list[Method]]:
    """The models and, if wanted, the baseline network among them and the simple methods.

    Models of one name, as checkpoints of one network have, are named by their files. ConfigError
    for a baseline among `models`, ModelError for one that is neither.
    """
    if chosen := set(models) & set(BASELINES):
        raise ConfigError(
            f"{', '.join(sorted(chosen))} is a baseline, not a model; leave it out: baselines are "
            "measured by default."
        )
    names = dict.fromkeys([*models, *(baseline_models(models) if baselines else ())])
    opened = [Model(name, threads) for name in names]
    counts = Counter(model.name for model in opened)
    for model in opened:
        if counts[model.name] > 1:
            model.name = str(model.encoder.path)
    return opened, [make() for make in BASELINES.values()] if baselines else []


def baseline_models(models: Sequence[str]) -> tuple[str, ...]:
    """The model that `models` must beat, unless it is one of them or not installed."""
    try:
        baseline = find_model(BASELINE_MODEL).resolve()
        found = {find_model(name).resolve() for name in models}
    except ModelError:  # reported when the models themselves are opened
        return ()
    return () if baseline in found else (BASELINE_MODEL,)
