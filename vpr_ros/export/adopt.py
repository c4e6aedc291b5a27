# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr adopt`: completes a model file by what is measured on images of the user."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
from rich.console import Console

from vpr_ros.core.contract import PREFIX, Contract
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.console import Progress, say
from vpr_ros.evaluation.image_set import DatasetOptions
from vpr_ros.evaluation.measured_images import MeasuredImages, open_measured_images
from vpr_ros.evaluation.model_measurements import measure_model
from vpr_ros.export.foreign_network import Given, Size, load_model, read_foreign
from vpr_ros.export.onnx_file import check_output, write_onnx
from vpr_ros.export.preparation import Triple


def run_adopt(
    file: str,
    target: Path | None,
    given: Given,
    images: Sequence[Path],
    options: DatasetOptions,
    overwrite: bool = False,
) -> Contract:
    """Measure the model or network in `file`, print, and write it to `target` if there is one.

    Returns the contract. Raises a VprError, with nothing written, if anything is wrong.
    """
    path = find_model(file)
    if target is not None:
        check_output(target)
        if target.exists() and not overwrite:
            raise ModelError(f"{target} exists. Give another name, or --overwrite.")
    console = Console()
    with tempfile.TemporaryDirectory() as folder, Progress(console) as progress:
        seen = open_measured_images(images, options, Path(folder), progress)
        progress.begin(f"Trying {path.name}")
        model, contract, words = _read(path, given, seen)
        fresh = Path(folder, path.name)
        try:
            write_onnx(model, contract, fresh)
        except ModelError as error:
            raise ModelError(str(error).replace(str(fresh), str(path))) from None
        progress.begin(f"Measuring {contract.name}")
        found = measure_model(Encoder(fresh), seen, progress.step)
    contract = dataclasses.replace(
        contract, calibration=found.calibration, levels=found.levels, change=found.change
    )
    say(console, f"{path}: {words}")
    for table in found.tables:
        table.print(console)
    for remark in found.remarks:
        say(console, remark)
    if target is not None:
        write_onnx(model, contract, target)
        say(console, f"{target}: {target.stat().st_size / 1e6:.1f} MB, model '{contract.name}'")
    return contract


def _read(
    path: Path, given: Given, images: MeasuredImages
) -> tuple[onnx.ModelProto, Contract, str]:
    """The model, its contract, and what is known of it in words."""
    model = load_model(path)
    if not any(entry.key.startswith(PREFIX) for entry in model.metadata_props):
        return read_foreign(path, model, given, images.pairs())
    if given.output or given.size or given.mean or given.std:
        raise ConfigError(
            f"{path} has a contract, which says what it takes and gives. Leave --output, --size, "
            "--mean and --std out."
        )
    own = Encoder(path).contract
    contract = dataclasses.replace(
        own,
        name=given.name or own.name,
        training_data=given.training_data or own.training_data,
        licence=given.licence or own.licence,
    )
    return model, contract, f"model '{contract.name}' version {contract.version}"


def whole_size(text: str) -> Size | None:
    """(height, width) of a text such as 322x322; None if it is empty."""
    if not text:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise ConfigError(f"--size is '{text}'; give HEIGHTxWIDTH in px, e.g. 322x322.")
    return int(parts[0]), int(parts[1])


def triple(text: str, option: str) -> Triple | None:
    """Three numbers separated by commas; None if the text is empty."""
    if not text:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
        if not all(0 <= v <= 1 and (v or option != "--std") for v in (red, green, blue)):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{option} is '{text}'; give R,G,B in [0, 1], e.g. 0.5,0.5,0.5; no --std is 0."
        ) from None
    return red, green, blue
