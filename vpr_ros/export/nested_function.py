# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The operators of nested ternary layers, defined by stock operators as those in `functions`."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import FunctionProto, NodeProto, TensorProto, helper

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
    rank (K,) int64, the place of every channel. Above sparsity 0 a branch gathers what is kept of
    x and of the weights, so that less is multiplied. `slim`: the first outputs alone are
    computed, as many as the next layer keeps; zeros for the rest.
    """
    dense = [*quantise(), *multiply("codes", "weight", "delta", epilogue)]
    gather = [
        *kept_count("inputs", "kept"),
        node("Less", "rank kept", "is_kept"),
        node("NonZero", "is_kept", "kept_row"),
        node("Reshape", "kept_row rest", "channels"),
        node("Gather", "x channels", "kept_x", axis=-1),
        node("Gather", "weight channels", "kept_weight", axis=0),
    ]
    few = [*quantise("kept_x"), *multiply("codes", "kept_weight", "delta", epilogue)]
    branches = {
        "then_branch": _branch("nested", [*gather, *(_slim(few, epilogue) if slim else few)]),
        "else_branch": _branch("dense", dense),
    }
    body = [
        *constants(),
        *unpack(),
        constant("none_dropped", 0.0, np.float32),
        node("Greater", "sparsity none_dropped", "select"),
        node("If", "select", "y", **branches),
    ]
    name = SLIM if slim else NESTED
    inputs = ["x", "packed", "delta", "sparsity", "rank", *epilogue_inputs(epilogue)]
    return helper.make_function(DOMAIN, f"{name}{epilogue}", inputs, ["y"], body, OPSETS)


def _branch(name: str, steps: list[NodeProto]) -> Any:
    """A branch that gives `y` under a name of its own."""
    steps[-1].output[0] = f"{name}_y"
    output = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
    return helper.make_graph(steps, name, [], [output])


def _slim(steps: list[NodeProto], epilogue: str) -> list[NodeProto]:
    """The same product for the first outputs alone, then zeros."""
    narrowed = {"kept_weight": "slim_weight", "delta": "slim_delta"}
    narrowed |= {name: f"slim_{name}" for name in epilogue_inputs(epilogue)}
    for step in steps:
        step.input[:] = [narrowed.get(name, name) for name in step.input]
    steps[-1].output[0] = "slim_y"
    return [
        constant("column", [1], np.int64),
        constant("start", [0], np.int64),
        node("Shape", "weight", "outputs", start=1),
        *kept_count("outputs", "wanted"),
        node("Slice", "kept_weight start wanted column", "slim_weight"),
        node("Expand", "delta outputs", "every_delta"),
        node("Slice", "every_delta start wanted", "slim_delta"),
        *(
            node("Slice", f"{name} start wanted last_axis", f"slim_{name}")
            for name in epilogue_inputs(epilogue)
        ),
        *steps,
        node("Sub", "outputs wanted", "missing"),
        node("Concat", "start missing", "pads", axis=0),
        helper.make_node("Pad", ["slim_y", "pads", "", "last_axis"], ["padded_y"]),
    ]
