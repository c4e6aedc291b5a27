# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a training checkpoint to the file that a robot runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vpr_ros.core.contract import Contract
from vpr_ros.export.check import Agreement
from vpr_ros.export.deploy_layers import check_precision
from vpr_ros.export.onnx_file import check_output, write_onnx
from vpr_ros.export.transformer import build_transformer
from vpr_ros.networks import MEAN, STD
from vpr_ros.networks.checkpoint import load_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPR
from vpr_ros.networks.tat_vpr import TatVPR

SPARSITY_MAX = 0.6  # the largest that TAT-VPR is trained with (arXiv 2505.16447)
EFFICIENTVPR_SIDE = 322  # px; the paper trains at 266 and tests at 322
UNKNOWN = "unknown, the checkpoint does not say"


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    precision: str = "int8",
    height: int | None = None,
    width: int | None = None,
) -> list[Agreement]:
    """Write the network in `checkpoint` to `output` for images of height x width px.

    `precision` is one of `deploy_layers.PRECISIONS`. The size defaults to that of the training
    images (TAT-VPR) or of the paper's tests (EfficientVPR). The checkpoint's notes `name`,
    `version`, `sparsity_max`, `training_data`, `licence` and `trainable` go into the contract.
    Returns how close onnxruntime and torch are. Raises ModelError, and leaves an older file alone,
    if they disagree.
    """
    check_precision(precision)
    check_output(output)
    network, notes = load_checkpoint(checkpoint)
    assert isinstance(network, TatVPR | EfficientVPR)
    side = network.config.image_size if isinstance(network, TatVPR) else EFFICIENTVPR_SIDE
    size = (height or side, width or side)
    contract = contract_of(network, {"name": checkpoint.stem, **notes}, size, precision)
    top = contract.sparsity_max
    sparsities = (0.0, top / 2, top) if top else (0.0,)
    model, agreements = build_transformer(network, *size, precision, sparsities)
    write_onnx(model, contract, output)
    return agreements


def contract_of(
    network: TatVPR | EfficientVPR, notes: dict[str, Any], size: tuple[int, int], precision: str
) -> Contract:
    """What the file of `network` at `precision` says about itself, without thresholds."""
    selection = network.config.selection if isinstance(network, TatVPR) else ""
    dial = bool(selection) and precision != "fp32"
    return Contract(
        name=str(notes["name"]),
        version=str(notes.get("version", "1")),
        input_height=size[0],
        input_width=size[1],
        mean=MEAN,
        std=STD,
        descriptor_size=network.descriptor_size,
        sparsity_max=float(notes.get("sparsity_max", SPARSITY_MAX)) if dial else 0.0,
        dial="activations" if dial else "none",
        tile=selection if dial else "",
        calibration=(),
        training_data=str(notes.get("training_data", UNKNOWN)),
        licence=str(notes.get("licence", UNKNOWN)),
        trainable=int(notes.get("trainable", 0)),
    )
