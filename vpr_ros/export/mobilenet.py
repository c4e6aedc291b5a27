# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The default model, MobileNetV2 with GeM, from ImageNet weights to its file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.contract import Contract
from vpr_ros.export.resolution import build_resolution
from vpr_ros.export.write import write_onnx
from vpr_ros.networks import MEAN, STD
from vpr_ros.networks.mobilenet_v2 import (
    DESCRIPTOR_SIZE,
    GEM_P,
    ResolutionDial,
    load_imagenet_model,
)

# Sparsity, score, margin: from `python -m bench.fill_contract`, see the model card.
MOBILENETV2_GEM_CALIBRATION = (
    Calibration(0.0, 0.90, 0.0),
    Calibration(0.2, 0.88, 0.0),
    Calibration(0.4, 0.88, 0.0),
    Calibration(0.6, 0.88, 0.0),
    Calibration(0.75, 0.84, 0.0),
)
# Sparsity at a medium and at a low battery: from `python -m bench.fill_contract`, docs/results.md.
MOBILENETV2_GEM_LEVELS = (0.2, 0.4)
# Cosine distance at which a frame shows another view: from the same command.
MOBILENETV2_GEM_CHANGE = 0.03


@dataclasses.dataclass(frozen=True)
class Exportable:
    """A network ready to export and what its file will say about it."""

    network: ResolutionDial
    contract: Contract


def mobilenetv2_gem(
    weights: Path | None = None, height: int = 272, width: int = 368, p: float = GEM_P
) -> Exportable:
    """The default model; `models/mobilenetv2-gem.md` has its measurements.

    `weights` is torchvision's file (default: the installed one), `height` and `width` the input
    in px, `p` the exponent of GeM.
    """
    contract = Contract(
        name="mobilenetv2-gem",
        version="1",
        input_height=height,
        input_width=width,
        mean=MEAN,
        std=STD,
        descriptor_size=DESCRIPTOR_SIZE,
        sparsity_max=0.75,
        dial="resolution",
        tile="",
        calibration=MOBILENETV2_GEM_CALIBRATION,
        levels=MOBILENETV2_GEM_LEVELS,
        change=MOBILENETV2_GEM_CHANGE,
        training_data="ImageNet-1k classification (torchvision mobilenet_v2-b0353104); "
        "not trained for place recognition",
        licence="BSD-3-Clause (torchvision's weights); trained on ImageNet, whose terms apply",
    )
    return Exportable(ResolutionDial(load_imagenet_model(weights, p)).eval(), contract)


def export(item: Exportable, path: Path) -> float:
    """Write `item` to `path` and return the largest difference from torch that was found.

    Raises ModelError, and leaves an older file alone, if onnxruntime does not agree with torch.
    """
    contract = item.contract
    sparsities = (0.0, contract.sparsity_max / 2, contract.sparsity_max)
    height, width = contract.input_height, contract.input_width
    model, difference = build_resolution(item.network, height, width, sparsities)
    write_onnx(model, contract, path)
    return difference
