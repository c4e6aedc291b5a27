# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Traces a torch network to an ONNX graph."""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from torch import Tensor, nn

from vpr_ros.export.functions import OPSET


def trace(
    network: nn.Module,
    inputs: dict[str, Tensor],
    free_sides: bool = False,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """`network(*inputs)` as a graph from these inputs to `descriptor`, batch norms folded.

    The batch of `image` (N, 3, H, W) stays variable, and with `free_sides` its sides as well.
    `domains` are those of operators that are not ONNX's own.
    """
    axes = {0: "batch", 2: "height", 3: "width"} if free_sides else {0: "batch"}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The old exporter (dynamo=False): the new one needs the package onnxscript and ignores the
        # `symbolic` methods that turn each of our layers into one operator. It warns that it is
        # deprecated, and about Python values that become constants, which is intended.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type]  # the old exporter writes to any file object
            dynamo=False,
            autograd_inlining=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["descriptor"],
            dynamic_axes={"image": axes, "descriptor": {0: "batch"}},
            custom_opsets=dict.fromkeys(domains, 1),
        )
    model = onnx.load_from_string(buffer.getvalue())
    read_weights_directly(model.graph)
    return model


def read_weights_directly(graph: onnx.GraphProto) -> None:
    """Remove the Identity nodes by which the exporter shares one of several equal weights."""
    weights = {tensor.name for tensor in graph.initializer}
    copies = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.input[0] in weights
    }
    kept = [node for node in graph.node if node.output[0] not in copies]
    for node in kept:
        node.input[:] = [copies.get(name, name) for name in node.input]
    graph.ClearField("node")
    graph.node.extend(kept)
