# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The choice of the model, and where model files are found."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ModelError

DEFAULT_MODEL = "tat-vpr-s"


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
    """The model and how it is run; the same for the encoder node and for evaluations."""

    model: str = param(DEFAULT_MODEL, "name of a shipped model or path of an .onnx file")
    threads: int = param(
        1, "number of threads that compute the model", minimum=1, maximum=64, read_only=True
    )
    provider: str = param(
        "cpu",
        "what runs the model: cpu, another execution provider of onnxruntime (such as cuda, "
        "tensorrt or openvino), or a plug-in provider, given by its library or Python package. "
        "The encoder checks what really runs and compares its results with the CPU's",
        read_only=True,
    )
    provider_options: str = param(
        "", "options of the provider: NAME=VALUE, separated by ';' or newline", read_only=True
    )
    sparsity: float = param(
        0.0,
        "0: full compute; higher: less compute and lower accuracy; the model limits the range",
        minimum=0.0,
        maximum=0.95,
    )


def find_model(name: str) -> Path:
    """The file of a model, given by its path or by the name of a shipped model.

    Raises ModelError listing the shipped models if there is no such file.
    """
    path = Path(os.path.expanduser(name))  # unlike Path.expanduser, never raises
    if os.path.isfile(path):  # unlike Path.is_file, raises for no name
        return path
    folders = _model_folders()
    for folder in folders:
        if os.path.isfile(folder / f"{name}.onnx"):
            return folder / f"{name}.onnx"
    shipped = sorted({f.stem for folder in folders for f in folder.glob("*.onnx")})
    raise ModelError(
        f"Model '{name[:200]}' is neither a file nor a shipped model. "
        f"Give a path to an .onnx file or one of: {', '.join(shipped) or 'none found'}."
    )


def is_shipped(path: Path) -> bool:
    """Whether a file is one of this package's own models."""
    return any(path.parent == folder for folder in _model_folders())


def file_identity(path: Path) -> tuple[int, ...]:
    """A value that changes when a file is written anew; empty if there is no file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _model_folders() -> list[Path]:
    """Beside the sources, then in every ROS prefix, then in Python's own prefix."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    roots = [Path(p) for p in (*prefixes, sys.prefix) if p]
    beside = Path(__file__).resolve().parents[2] / "models"
    return [beside, *(root / "share" / "vpr_ros" / "models" for root in roots)]
