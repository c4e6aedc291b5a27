# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a trained transformer to a checked ONNX model."""

from __future__ import annotations

import onnx
from torch import nn

from vpr_ros.onnx_export.check import Agreement, check
from vpr_ros.onnx_export.half import store_half
from vpr_ros.onnx_export.trace import trace
from vpr_ros.onnx_export.twins import exchange


def build(
    network: nn.Module,
    height: int,
    width: int,
    precision: str = "int8",
    sparsities: tuple[float, ...] = (0.0, 0.4, 0.6),
) -> tuple[onnx.ModelProto, list[Agreement]]:
    """The ONNX model of a TatVPR or EfficientVPR for images of height x width px.

    `precision` is one of `twins.PRECISIONS`. The model has been compared with torch at every one
    of `sparsities` (only 0 for a network without the dial); raises ModelError if they differ.
    The caller adds the contract.
    """
    twin = exchange(network, precision)
    model = trace(twin, height, width)
    if precision != "float32":
        store_half(model)
    dial = len(model.graph.input) > 1
    agreements = [
        check(model, twin, network, sparsity) for sparsity in (sparsities if dial else (0.0,))
    ]
    return model, agreements
