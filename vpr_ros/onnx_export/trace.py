# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A transformer, traced to an ONNX graph with the operators of `functions`."""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from vpr_ros.networks.tat_vpr import TatVPR
from vpr_ros.networks.tiles import token_tiles
from vpr_ros.onnx_export import functions
from vpr_ros.onnx_export.twins import PackedTernaryLinear

IR_VERSION = 10  # onnxruntime 1.19 reads up to this one


def trace(twin: nn.Module, height: int, width: int) -> onnx.ModelProto:
    """A network from `exchange` for images of height x width px as ONNX, batch size free.

    Inputs `image` (N, 3, height, width) and, where ternary layers are sparse, the scalar
    `sparsity`; output `descriptor`.
    """
    inputs: tuple[Tensor, ...] = (torch.zeros(2, 3, height, width),)
    names = ["image"]
    if any(isinstance(layer, PackedTernaryLinear) for layer in twin.modules()):
        inputs, names = (*inputs, torch.tensor(0.5)), [*names, "sparsity"]
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecation; constants the tracer sees; both intended
        torch.onnx.export(
            twin,
            inputs,
            buffer,
            dynamo=False,
            autograd_inlining=False,
            opset_version=functions.OPSET,
            input_names=names,
            output_names=["descriptor"],
            dynamic_axes={"image": {0: "batch"}, "descriptor": {0: "batch"}},
            custom_opsets={functions.DOMAIN: 1},
        )
    model = onnx.load_from_string(buffer.getvalue())
    attach_functions(model, twin, height, width)
    return model


def attach_functions(model: onnx.ModelProto, twin: nn.Module, height: int, width: int) -> None:
    """Define in `model` the operators that it uses."""
    used = {node.op_type for node in model.graph.node if node.domain == functions.DOMAIN}
    if "SparseTernaryLinear" in used:
        assert isinstance(twin, TatVPR)
        patch = twin.config.patch_size
        tiles = token_tiles((height // patch, width // patch), twin.config.tile)
        model.functions.append(functions.sparse_ternary_linear(tiles))
    if "Int8Linear" in used:
        model.functions.append(functions.int8_linear())
    if "Attention" in used:
        model.functions.append(functions.attention())
    model.opset_import.append(helper.make_opsetid(functions.CONTRIB, 1))
    model.ir_version = IR_VERSION
