# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A torch network, traced to an ONNX graph."""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from vpr_ros.export import functions
from vpr_ros.export.fusion import fuse
from vpr_ros.export.names import DOMAIN, EPILOGUES, INT8, NESTED, SLIM, SPARSE
from vpr_ros.export.nested_function import nested_ternary_linear
from vpr_ros.export.twins import PackedTernaryLinear

IR_VERSION = 10  # onnxruntime 1.19 reads up to this one


def trace(
    network: nn.Module,
    inputs: dict[str, Tensor],
    free_sides: bool = False,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """`network(*inputs)` as a graph from these inputs to `descriptor`, batch norms folded.

    The batch of `image` (N, 3, H, W) stays free, its sides too if `free_sides`. `domains` are
    those of operators that are not ONNX's own.
    """
    axes = {0: "batch", 2: "height", 3: "width"} if free_sides else {0: "batch"}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # Deprecation: the newer exporter needs one more package and writes the same graph for
        # these networks. Constants that the tracer sees: intended.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            buffer,
            dynamo=False,
            autograd_inlining=False,
            opset_version=functions.OPSET,
            input_names=list(inputs),
            output_names=["descriptor"],
            dynamic_axes={"image": axes, "descriptor": {0: "batch"}},
            custom_opsets=dict.fromkeys(domains, 1),
        )
    return onnx.load_from_string(buffer.getvalue())


def trace_transformer(twin: nn.Module, height: int, width: int, precision: str) -> onnx.ModelProto:
    """A network from `exchange` for images of height x width px, with the operators it uses.

    Inputs `image` (N, 3, height, width) and, where ternary layers are sparse, the scalar
    `sparsity`; output `descriptor`.
    """
    inputs = {"image": torch.zeros(2, 3, height, width)}
    if any(isinstance(layer, PackedTernaryLinear) for layer in twin.modules()):
        inputs["sparsity"] = torch.tensor(0.5)
    model = trace(twin, inputs, domains=(DOMAIN,))
    if precision != "fp32":
        fuse(model.graph, attention=precision == "int8")
    attach_functions(model)
    return model


def attach_functions(model: onnx.ModelProto) -> None:
    """Define in `model` the operators that it uses."""
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    for epilogue in EPILOGUES:
        if f"{SPARSE}{epilogue}" in used:
            model.functions.append(functions.sparse_ternary_linear(epilogue))
        for name in (NESTED, SLIM):
            if f"{name}{epilogue}" in used:
                model.functions.append(nested_ternary_linear(epilogue, slim=name == SLIM))
        if f"{INT8}{epilogue}" in used:
            model.functions.append(functions.int8_linear(epilogue))
    others = {
        "Attention": functions.attention,
        "CrossAttention": functions.cross_attention,
        "SelfAttention": functions.self_attention,
        "LayerNorm": functions.layer_norm,
    }
    model.functions.extend(define() for name, define in others.items() if name in used)
    model.opset_import.append(helper.make_opsetid(functions.CONTRIB, 1))
    model.ir_version = IR_VERSION
