# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX file: how weights are stored in it, and how it is written. Needs onnx, not torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.core.contract import Contract
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ModelError
from vpr_ros.export.functions import DOMAIN, INT8, TERNARY, repack_ternary
from vpr_ros.export.packing import squeeze

SMALLEST = 2048  # values; a smaller tensor is not worth a node


def store_half(model: onnx.ModelProto) -> None:
    """Store large float32 tensors in half precision: half the bytes at the same speed.

    onnxruntime folds the Casts into float32 constants when it loads the file. The scales of int8
    weights stay float32, because they may be too small for the exponent of half precision.
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
    """Store packed ternary weights at five codes to a byte.

    onnxruntime repacks them when it loads the file, so the layers still read four codes to a byte.
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
    """Merge equal Constant nodes and remove those that nothing reads."""
    first: dict[bytes, str] = {}
    merged: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = node.attribute[0].SerializeToString()
            name = first.setdefault(value, node.output[0])
            if name != node.output[0]:
                merged[node.output[0]] = name
                continue
        node.input[:] = [merged.get(name, name) for name in node.input]
        kept.append(node)
    read = names_read(kept) | {output.name for output in model.graph.output}
    left = [n for n in kept if n.op_type != "Constant" or n.output[0] in read]
    model.graph.ClearField("node")
    model.graph.node.extend(left)


def names_read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """The inputs of nodes, including those of nodes in their branches."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            found |= names_read(attribute.g.node) | {o.name for o in attribute.g.output}
    return found


def put_in_front(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Insert `nodes` before all others of `graph`."""
    body = list(graph.node)
    graph.ClearField("node")
    graph.node.extend([*nodes, *body])


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    """`model` in onnxruntime, on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def check_output(path: Path) -> None:
    """Raise ModelError if no file can be written at `path`, before any work is done for it."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ModelError(
            f"Cannot write {path}: give a file name in a folder that exists and is writable."
        )


def write_onnx(model: onnx.ModelProto, contract: Contract, path: Path) -> None:
    """Write `model` with `contract` as its metadata to `path`.

    Raises ModelError, and leaves an older file alone, if ONNX's checker or the robot's `Encoder`
    refuses the new one, or the encoder reads another contract from it.
    """
    check_output(path)
    helper.set_model_props(model, contract.to_metadata())
    descriptor = helper.make_tensor_value_info(
        "descriptor", TensorProto.FLOAT, ["batch", contract.descriptor_size]
    )
    model.graph.output[0].CopyFrom(descriptor)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path}: ONNX's checker refuses the graph ({reason}).") from None
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(model.SerializeToString())
        if Encoder(temporary).contract.to_metadata() != contract.to_metadata():
            raise ModelError(f"{path}: the contract read back is not the one written.")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
