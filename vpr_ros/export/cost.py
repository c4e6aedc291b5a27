# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a model file says about itself and costs, counted from its graph. Needs onnx, not torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from rich.table import Table

from vpr_ros.core.contract import Contract
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ModelError
from vpr_ros.core.providers import Provider
from vpr_ros.export.foreign_network import load_model
from vpr_ros.export.functions import EPILOGUES, LINEAR, ROUNDING_GUARD, SLIM, TERNARY
from vpr_ros.export.onnx_file import session_of
from vpr_ros.export.packing import PER_BYTE

OPSETS = range(7, 22)  # of ONNX; what onnxruntime 1.19 runs
SPARSITIES = (0.0, 0.2, 0.4, 0.6)

Shape = tuple[int, ...]
# Multiply-accumulates of a node, from the shapes of its inputs and of its first output.
Rule = Callable[[list[Shape], Shape], int]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Size and work of one model file."""

    contract: Contract
    digest: str  # of the weights, as maps and diagnostics name the model
    runs_with: str  # operators and provider on this machine, in words
    opset: int
    file_bytes: int
    parameters: int  # weights in the file; packed ones count individually
    macs: dict[float, int]  # sparsity -> multiply-accumulates per image
    published_macs: dict[float, int]  # the same as TAT-VPR's figures count them
    uncounted: tuple[str, ...]  # operators that may multiply and have no rule here


def cost_of(
    path: Path, provider: Provider | None = None, asked: Iterable[float] = SPARSITIES
) -> Cost:
    """What the model at `path` costs, at 0, its largest sparsity and those `asked` for between.

    Counts convolutions, matrix and attention products, but not norms, activation functions and
    the choice of channels. Sparse layers count the channels that they keep: compiled operators
    compute only those, while stock ones multiply by the zeros too. Raises ModelError if this
    package cannot run the file.
    """
    model = load_model(path)
    opset = _checked_opset(model, path)
    encoder = Encoder(path, provider=provider)
    contract = encoder.contract
    sparsities = [0.0, *(s for s in asked if s < contract.sparsity_max), contract.sparsity_max]
    macs, published = {}, {}
    shapes: dict[str, Shape] = {}
    for sparsity in sorted(set(sparsities)):
        if not shapes or contract.dial == "resolution":  # the other dial changes no shape
            shapes = _shapes(model, contract, sparsity)
        macs[sparsity] = sum(_macs(node, shapes, sparsity) for node in model.graph.node)
        published[sparsity] = _published_macs(model, contract, shapes, sparsity)
    uncounted = tuple(sorted({n.op_type for n in model.graph.node if _may_multiply(n)}))
    parameters = _parameters(model, shapes)
    size = path.stat().st_size
    return Cost(
        contract,
        encoder.digest,
        f"{encoder.operators}; {encoder.provider}",
        opset,
        size,
        parameters,
        macs,
        published,
        uncounted,
    )


def count_macs(
    path: Path, sparsities: Iterable[float]
) -> tuple[dict[float, int], dict[float, int]]:
    """The multiply-accumulates of `cost_of` alone, as they are and as published."""
    cost = cost_of(path, asked=sparsities)
    return cost.macs, cost.published_macs


def _checked_opset(model: onnx.ModelProto, path: Path) -> int:
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    version = opset.get("ai.onnx", 0)
    if version not in OPSETS:
        raise ModelError(
            f"{path} uses opset {version} of ONNX; vpr_ros runs {OPSETS[0]} to {OPSETS[-1]}. "
            "Export it again with one of these."
        )
    return version


def _shapes(model: onnx.ModelProto, contract: Contract, sparsity: float) -> dict[str, Shape]:
    """The shape of every tensor in the graph while one image runs at `sparsity`."""
    graph = model.graph
    names = {n for node in graph.node for n in (*node.input, *node.output) if n}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.ClearField("output")
    asked = sorted(names)
    for i, name in enumerate(asked):
        watched.graph.node.append(helper.make_node("Shape", [name], [f"shape_{i}"]))
        shape = helper.make_tensor_value_info(f"shape_{i}", TensorProto.INT64, None)
        watched.graph.output.append(shape)
    pixels = np.zeros((1, 3, contract.input_height, contract.input_width), dtype=np.float32)
    feed = {"image": pixels}
    if contract.sparsity_max > 0:
        feed["sparsity"] = np.array(sparsity, dtype=np.float32)
    found = session_of(watched).run(None, feed)
    return {name: tuple(map(int, shape)) for name, shape in zip(asked, found, strict=True)}


def _convolution(inputs: list[Shape], output: Shape) -> int:
    return math.prod(output) * math.prod(inputs[1][1:])


def _product(inputs: list[Shape], output: Shape) -> int:
    return math.prod(output) * inputs[0][-1]


def _attention(inputs: list[Shape], output: Shape) -> int:
    return 2 * math.prod(output) * inputs[1][1]  # scores, then the mix of values


RULES: dict[str, Rule] = {
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "MatMul": _product,
    "MatMulInteger": _product,
    "MatMulIntegerToFloat": _product,
    "DynamicQuantizeMatMul": _product,
    "Gemm": _product,
    "MultiHeadAttention": _attention,
    "Attention": _attention,
    "CrossAttention": _attention,
    "SelfAttention": lambda inputs, output: 2 * math.prod(output) * output[1],
    **{f"{name}{epilogue}": _product for name in LINEAR for epilogue in EPILOGUES},
}
WITHOUT_PRODUCT = ("RepackTernary", "LayerNorm")
# What may multiply matrices in a graph that this package did not write.
DOMAINS = ("", "ai.onnx")
PRODUCTS_WITHOUT_RULE = ("Einsum", "ConvTranspose", "QLinearConv", "QLinearMatMul", "LSTM", "GRU")


def _macs(node: onnx.NodeProto, shapes: dict[str, Shape], sparsity: float) -> int:
    if node.op_type not in RULES:
        return 0
    inputs = [shapes[name] for name in node.input if name]
    output = shapes[node.output[0]]
    macs = RULES[node.op_type](inputs, output)
    if node.op_type.startswith(TERNARY):
        channels = inputs[0][-1]
        macs = macs // channels * kept_channels(sparsity, channels)
    if node.op_type.startswith(SLIM):
        macs = macs // output[-1] * kept_channels(sparsity, output[-1])
    return macs


def _published_macs(
    model: onnx.ModelProto, contract: Contract, shapes: dict[str, Shape], sparsity: float
) -> int:
    """Multiply-accumulates as TAT-VPR's published figures count them.

    They multiply by (1 - s) every linear layer that adds a bias, the dense ones too, but not the
    bias-free qkv that the mask does reach; and torch's profiler sees neither the first MLP layer
    nor the attention product inside a fused encoder layer (BoQ's). Nodes are named by modules.
    """
    share = 1.0 - sparsity if contract.dial == "activations" else 1.0
    constants = {t.name for t in model.graph.initializer}
    constants |= {n.output[0] for n in model.graph.node if n.input and n.input[0] in constants}
    biased = {x for n in model.graph.node if n.op_type == "Add" and set(n.input) & constants
              for x in n.input}  # fmt: skip
    total = 0.0
    for node in model.graph.node:
        if "/encoder/widen/" in node.name or "/encoder/attention/product/" in node.name:
            continue
        convolution = "/product/Int8Linear" in node.name  # export's name of one
        linear = "Bias" in node.op_type and not convolution
        linear |= node.op_type == "MatMul" and node.output[0] in biased
        total += _macs(node, shapes, 0.0) * (share if linear or node.op_type == "Gemm" else 1.0)
    return round(total)


def kept_channels(sparsity: float, channels: int) -> int:
    """How many of `channels` a sparse layer keeps, rounded as in its definition."""
    share = np.float32(1.0) - np.float32(sparsity)
    return max(1, math.ceil(share * np.float32(channels) - np.float32(ROUNDING_GUARD)))


def _may_multiply(node: onnx.NodeProto) -> bool:
    if node.op_type in RULES or node.op_type in WITHOUT_PRODUCT:
        return False
    branches = [inner for attribute in node.attribute for inner in attribute.g.node]
    return (
        node.op_type in PRODUCTS_WITHOUT_RULE
        or node.domain not in DOMAINS
        or any(inner.op_type in RULES or _may_multiply(inner) for inner in branches)
    )


def _parameters(model: onnx.ModelProto, shapes: dict[str, Shape]) -> int:
    graph = model.graph
    packed = {node.input[1] for node in graph.node if node.op_type.startswith(TERNARY)}
    repacks = {node.input[0] for node in graph.node if node.op_type == "RepackTernary"}
    indices = (TensorProto.INT64, TensorProto.INT32)
    others = [
        math.prod(t.dims)
        for t in graph.initializer
        if t.data_type not in indices and t.name not in packed | repacks
    ]
    return sum(others) + sum(PER_BYTE * math.prod(shapes[name]) for name in packed)


def contract_table(path: Path, cost: Cost) -> Table:
    """What a file says about itself, and its size."""
    contract = cost.contract
    dial = f"{contract.dial}, sparsity 0 to {contract.sparsity_max:g}"
    rows = {
        "model": f"{contract.name}, version {contract.version}",
        "file": f"{path}, {cost.file_bytes / 1e6:.1f} MB, ONNX opset {cost.opset}",
        "parameters": f"{cost.parameters / 1e6:.2f} M",
        "trained of them": f"{contract.trainable / 1e6:.2f} M" * bool(contract.trainable)
        or "not known",
        "input": f"RGB {contract.input_height}x{contract.input_width} px (height x width)",
        "mean, std": f"{contract.mean}, {contract.std}",
        "descriptor": f"{contract.descriptor_size} values",
        "digest of the weights": cost.digest,
        "dial": dial if contract.sparsity_max > 0 else "none",
        "battery levels": ", ".join(f"{s:g}" for s in contract.levels) or "not measured",
        "view changes at": f"cosine distance {contract.change:g}"
        if contract.change
        else "not measured",
        "selection": contract.tile or "none",
        "runs here with": cost.runs_with,
        "training data": contract.training_data,
        "licence": contract.licence,
        "format": str(contract.format),
    }
    table = Table(show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def cost_table(cost: Cost) -> Table:
    """Multiply-accumulates and thresholds per sparsity, for `vpr model-info`."""
    table = Table("sparsity", "MMAC per image", "of dense", "GFLOP as TAT-VPR counts", "score >=")
    for sparsity, macs in cost.macs.items():
        limits = cost.contract.calibration_at(sparsity)
        table.add_row(
            f"{sparsity:g}",
            f"{macs / 1e6:,.1f}",
            f"{100 * macs / cost.macs[0.0]:.0f} %",
            f"{2e-9 * cost.published_macs[sparsity]:.2f}",
            f"{limits.score_threshold:.3f}" if cost.contract.calibration else "-",
        )
    if not cost.contract.calibration:
        table.caption = "no thresholds, so it closes no loop: run vpr adopt"
    if cost.uncounted:
        table.caption = f"not counted: {', '.join(cost.uncounted)}"
    return table
