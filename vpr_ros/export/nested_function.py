# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The operators of nested ternary layers, defined by stock operators as those in `functions`."""

from __future__ import annotations

import numpy as np
from onnx import FunctionProto, NodeProto, helper

from vpr_ros.export.functions import (
    OPSETS,
    constant,
    constants,
    epilogue_inputs,
    kept_count,
    multiply,
    node,
    quantise,
    unpack,
)
from vpr_ros.export.names import DOMAIN, NESTED, SLIM


def nested_ternary_linear(epilogue: str = "", slim: bool = False) -> FunctionProto:
    """y = delta (mask * x) W_t for a nested layer: its channels of the lowest ranks.

    Inputs: x (..., K); packed (K, N / 4) uint8; delta, a scalar or (N,); sparsity, a scalar;
    rank (K,) int64, the place of every channel. `slim`: of y the first values, as many as the next
    layer keeps, and zeros for the rest.

    Stock operators multiply by the zeros: weights that are constants lie ready for the product,
    and to gather some of them for every run takes longer than is saved.
    """
    body = [
        *constants(),
        *unpack(),
        constant("zero", 0.0, np.float32),
        *kept_count("inputs", "kept"),
        node("Less", "rank kept", "is_kept"),
        node("Where", "is_kept x zero", "kept_x"),
        *quantise("kept_x"),
        *multiply("codes", "weight", "delta", epilogue),
    ]
    if slim:
        body[-1].output[0] = "every_y"
        body += _first_outputs()
    name = SLIM if slim else NESTED
    inputs = ["x", "packed", "delta", "sparsity", "rank", *epilogue_inputs(epilogue)]
    return helper.make_function(DOMAIN, f"{name}{epilogue}", inputs, ["y"], body, OPSETS)


def _first_outputs() -> list[NodeProto]:
    """`every_y` (..., N) to `y`, zeros for what the next layer drops."""
    return [
        constant("first", 0, np.int64),
        constant("stride", 1, np.int64),
        constant("no_axes", [], np.int64),
        node("Shape", "weight", "outputs", start=1),
        *kept_count("outputs", "wanted"),
        node("Reshape", "outputs no_axes", "output_count"),
        node("Range", "first output_count stride", "places"),
        node("Less", "places wanted", "is_wanted"),
        node("Where", "is_wanted every_y zero", "y"),
    ]
