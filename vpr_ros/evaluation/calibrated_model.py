# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A copy of a model file that carries the thresholds of a robot in its contract."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.contract import PREFIX, Contract
from vpr_ros.core.errors import ModelError


def write_calibrated_model(
    source: Path, output: Path, contract: Contract, calibration: list[Calibration]
) -> None:
    """Copy `source` to `output` with this calibration, per sparsity. Needs onnx.

    Whole or not at all; ModelError if the file cannot be written.
    """
    import onnx

    rising = tuple(sorted(calibration, key=lambda point: point.sparsity))
    model = onnx.load(str(source))
    kept = [p for p in model.metadata_props if not p.key.startswith(PREFIX)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    for key, value in dataclasses.replace(contract, calibration=rising).to_metadata().items():
        model.metadata_props.add(key=key, value=value)
    partial = output.with_name(f".{output.name}.partial")
    try:
        partial.write_bytes(model.SerializeToString())
        os.replace(partial, output)
    except OSError as error:
        raise ModelError(f"Model {output} cannot be written ({error}).") from None
    finally:
        partial.unlink(missing_ok=True)
