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
from vpr_ros.core.errors import ModelError
from vpr_ros.core.images import Image
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.baselines.bag_of_words import OrbBagOfWords
from vpr_ros.evaluation.baselines.thumbnail import Thumbnail


class Method(Protocol):
    """A way to describe an image by one vector."""

    name: str
    sparsity_max: float  # 0: no dial

    def learn(self, images: Sequence[Image]) -> None:
        """Prepare for a database of BGR images, which may be read anew at every access."""

    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """Unit descriptor (D,) of a BGR image; zeros for one without content."""


class Model:
    """A model file, run by the robot's own Encoder."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self.encoder = Encoder(find_model(name), threads)
        self.name = self.encoder.contract.name
        self.sparsity_max = self.encoder.contract.sparsity_max

    def learn(self, images: Sequence[Image]) -> None:
        """Nothing: a model comes trained."""

    def describe(self, image: Image, sparsity: float = 0.0) -> npt.NDArray[np.float32]:
        """The Encoder's descriptor."""
        return self.encoder.encode(image, sparsity)


BASELINE_MODEL = "mobilenetv2-gem"  # a network trained on ImageNet, not on places

BASELINES: dict[str, Callable[[], Method]] = {
    Thumbnail.name: Thumbnail,
    OrbBagOfWords.name: OrbBagOfWords,
}


def open_method(name: str, threads: int = 1) -> Method:
    """A baseline by name, or a model by name or path; ModelError if it is neither."""
    if name in BASELINES:
        return BASELINES[name]()
    try:
        return Model(name, threads)
    except ModelError as error:
        raise ModelError(f"{error} Baselines are: {', '.join(BASELINES)}.") from None


def baseline_models(models: Sequence[str]) -> tuple[str, ...]:
    """The model that `models` must beat, unless it is one of them or not installed."""
    try:
        baseline = find_model(BASELINE_MODEL)
        found = {find_model(name).resolve() for name in models if name not in BASELINES}
    except ModelError:  # said when the models themselves are opened
        return ()
    return () if baseline.resolve() in found else (BASELINE_MODEL,)


def tell_apart(models: Sequence[Model]) -> None:
    """Name models by their files where several call themselves alike, as checkpoints of one do."""
    counts = Counter(model.name for model in models)
    for model in models:
        if counts[model.name] > 1:
            model.name = str(model.encoder.path)
