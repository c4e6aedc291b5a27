# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which model runs, and how: the same for the encoder node and for evaluations."""

from __future__ import annotations

import dataclasses

from vpr_ros.core.config import Config, param
from vpr_ros.core.model_files import DEFAULT_MODEL


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
    """The model and how it runs."""

    model: str = param(DEFAULT_MODEL, "name of a shipped model, or path of an .onnx file")
    threads: int = param(
        1, "compute threads of the network", minimum=1, maximum=64, read_only=True
    )
    sparsity: float = param(
        0.0,
        "0: full compute; higher: less compute, less accuracy; the model limits it further",
        minimum=0.0,
        maximum=0.95,
    )
