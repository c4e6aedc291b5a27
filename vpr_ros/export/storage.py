# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How weights lie in the file: smaller than onnxruntime computes with them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.export.functions import repack_ternary
from vpr_ros.export.names import DOMAIN, INT8, TERNARY
from vpr_ros.export.packing import squeeze

SMALLEST = 2048  # values; fewer are not worth a node


def store_half(model: onnx.ModelProto) -> None:
    """Store large float32 tensors in half precision: half the bytes, the same speed.

    onnxruntime folds the Casts into float32 constants at load. The scales of int8 weights stay:
    they may be too small for half precision's exponent.
    """
    scales = {n.input[2] for n in model.graph.node if n.op_type.startswith(INT8)}
    casts = []
    for tensor in model.graph.initializer:
        values, name = numpy_helper.to_array(tensor), tensor.name
        if values.dtype != np.float32 or values.size < SMALLEST or name in scales:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    put_in_front(model.graph, casts)


def store_ternary(model: onnx.ModelProto) -> None:
    """Store packed ternary weights at five codes to a byte and let the load repack them.

    The sparse layers still get their four codes to a byte, as a constant.
    """
    packed = {n.input[1] for n in model.graph.node if n.op_type.startswith(TERNARY)}
    repacks, shapes = [], {}
    for tensor in model.graph.initializer:
        if tensor.name not in packed:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        shape = "shape_" + "x".join(map(str, values.shape))
        shapes[shape] = numpy_helper.from_array(np.array(values.shape, dtype=np.int64), shape)
        tensor.CopyFrom(numpy_helper.from_array(squeeze(values), f"{name}.squeezed"))
        inputs = [f"{name}.squeezed", shape]
        repacks.append(helper.make_node("RepackTernary", inputs, [name], domain=DOMAIN))
    if repacks:
        model.graph.initializer.extend(shapes.values())
        put_in_front(model.graph, repacks)
        model.functions.append(repack_ternary())


def share_constants(model: onnx.ModelProto) -> None:
    """Let equal Constant nodes be one, such as the tiles of the tokens in every sparse layer.

    Those that nothing reads any more go.
    """
    first: dict[bytes, str] = {}
    twin_of: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = node.attribute[0].SerializeToString()
            name = first.setdefault(value, node.output[0])
            if name != node.output[0]:
                twin_of[node.output[0]] = name
                continue
        node.input[:] = [twin_of.get(name, name) for name in node.input]
        kept.append(node)
    read = names_read(kept) | {output.name for output in model.graph.output}
    left = [n for n in kept if n.op_type != "Constant" or n.output[0] in read]
    model.graph.ClearField("node")
    model.graph.node.extend(left)


def names_read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Inputs of nodes and of what their branches hold."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            found |= names_read(attribute.g.node) | {o.name for o in attribute.g.output}
    return found


def put_in_front(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Let `nodes` run before all others of `graph`."""
    body = list(graph.node)
    graph.ClearField("node")
    graph.node.extend([*nodes, *body])
