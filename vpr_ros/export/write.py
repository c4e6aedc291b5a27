# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model file: contract inside, tried out as the robot will load it, there whole or not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.contract import Contract
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ModelError


def check_output(path: Path) -> None:
    """Raise ModelError if no file can be written at `path`; before the work, not after it."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ModelError(
            f"Cannot write {path}: give a file name in a folder that exists and is writable."
        )


def write_calibration(path: Path, points: Sequence[Calibration]) -> None:
    """Put thresholds, rising in sparsity, into the model file at `path`; all else stays."""
    contract = dataclasses.replace(Encoder(path).contract, calibration=tuple(points))
    write_onnx(onnx.load(path), contract, path)


def write_levels(path: Path, levels: tuple[float, float]) -> None:
    """Put the sparsities of a medium and of a low battery into the model file at `path`."""
    contract = dataclasses.replace(Encoder(path).contract, levels=levels)
    write_onnx(onnx.load(path), contract, path)


def write_change(path: Path, change: float) -> None:
    """Put the cosine distance from which on two frames are two views into the file at `path`."""
    contract = dataclasses.replace(Encoder(path).contract, change=change)
    write_onnx(onnx.load(path), contract, path)


def write_onnx(model: onnx.ModelProto, contract: Contract, path: Path) -> None:
    """Write `model` with `contract` as its metadata to `path`.

    Raises ModelError, and leaves an older file alone, if the robot's `Encoder` refuses the new
    one or reads another contract from it.
    """
    check_output(path)
    helper.set_model_props(model, contract.to_metadata())
    descriptor = helper.make_tensor_value_info(
        "descriptor", TensorProto.FLOAT, ["batch", contract.descriptor_size]
    )
    model.graph.output[0].CopyFrom(descriptor)
    onnx.checker.check_model(model, full_check=True)
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(model.SerializeToString())
        if Encoder(temporary).contract.to_metadata() != contract.to_metadata():
            raise ModelError(f"{path}: the contract read back is not the one written.")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
