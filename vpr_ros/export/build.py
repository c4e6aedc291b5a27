# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a trained transformer to a checked ONNX model."""

from __future__ import annotations

import onnx
from torch import nn

from vpr_ros.export.check import Agreement, check
from vpr_ros.export.delicate import delicate_layers
from vpr_ros.export.storage import share_constants, store_half, store_ternary
from vpr_ros.export.trace import trace_transformer
from vpr_ros.export.twins import exchange


def build(
    network: nn.Module,
    height: int,
    width: int,
    precision: str = "int8",
    sparsities: tuple[float, ...] = (0.0, 0.4, 0.6),
) -> tuple[onnx.ModelProto, list[Agreement]]:
    """The ONNX model of a TatVPR or EfficientVPR for images of height x width px.

    `precision` is one of `twins.PRECISIONS`; in int8, layers that it would hurt stay float. The
    model has been compared with torch at every one of `sparsities` (only 0 for a network without
    the dial); raises ModelError if they differ. The caller adds the contract.
    """
    kept = delicate_layers(network, height, width) if precision == "int8" else frozenset()
    twin = exchange(network, precision, kept)
    model = trace_transformer(twin, height, width, precision)
    if precision != "fp32":
        store_half(model)
        store_ternary(model)
        share_constants(model)
    dial = len(model.graph.input) > 1
    wanted = [sparsity for sparsity in sparsities if dial or sparsity == 0.0]
    return model, [check(model, twin, network, sparsity) for sparsity in wanted]
