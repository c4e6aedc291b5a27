# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The operators of exported files: each is one node, and each is defined inside the file.

An ONNX file may contain functions: operators defined by stock operators. onnxruntime inlines them
when it loads the file and folds constants, including the expansion of ternary weights. If a
library is registered that implements an operator of the same domain and name, onnxruntime uses
that instead. So one file runs everywhere, and faster where the library is. Needs onnx, not torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from vpr_ros.export.packing import repacking_tables, unpacking_table

# The names of our operators; the compiled library knows the same, except SPARSE.
DOMAIN = "vpr_ros"
SPARSE = "SparseTernaryLinear"  # every token chooses its channels
NESTED = "NestedTernaryLinear"  # all tokens keep the first channels of one order
SLIM = "SlimTernaryLinear"  # nested, with only those outputs that the next nested layer keeps
INT8 = "Int8Linear"
TERNARY = (SPARSE, NESTED, SLIM)
LINEAR = (*TERNARY, INT8)
# What may follow the product, as the end of a linear operator's name: a bias (N), then GELU or the
# addition of `residual` (B, M, N).
EPILOGUES = ("", "Bias", "BiasGelu", "BiasAdd")

# As in networks/sparse_ternary_linear.py, which needs torch; a test compares them.
LEVELS = 127
SMALLEST_PEAK = 1e-8
ROUNDING_GUARD = 1e-3

CONTRIB = "com.microsoft"
OPSET = 18
OPSETS = (helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1))
ZERO_POINT = 128  # codes are unsigned, as the left operand of the int8 product must be


def constant(name: str, value: npt.ArrayLike, dtype: type) -> NodeProto:
    """A Constant node with the output `name`."""
    tensor = numpy_helper.from_array(np.array(value, dtype=dtype), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def node(operator: str, inputs: str, outputs: str, domain: str = "", **options: Any) -> NodeProto:
    """A node whose inputs and outputs are space-separated names."""
    return helper.make_node(operator, inputs.split(), outputs.split(), domain=domain, **options)


def constants() -> list[NodeProto]:
    """The constants that `quantise`, `multiply` and `kept_count` refer to."""
    return [
        constant("last_axis", [-1], np.int64),
        constant("levels", LEVELS, np.float32),
        constant("smallest_peak", SMALLEST_PEAK, np.float32),
        constant("one", 1.0, np.float32),
        constant("zero_point", ZERO_POINT, np.uint8),
        constant("weight_zero_point", 0, np.int8),
        constant("step", 1.0 / LEVELS, np.float32),
    ]


def quantise(x: str = "x") -> list[NodeProto]:
    """x (B, M, K) to `codes`, uint8 with zero point 128, and `peak` (B, M, 1): `int8_codes`."""
    return [
        node("Abs", x, "magnitude"),
        node("ReduceMax", "magnitude last_axis", "largest", keepdims=1),
        node("Max", "largest smallest_peak", "peak"),
        node("Div", "levels peak", "gain"),
        node("Mul", f"{x} gain", "scaled"),
        node("QuantizeLinear", "scaled one zero_point", "codes"),
    ]


def multiply(codes: str, weight: str, weight_scale: str, epilogue: str) -> list[NodeProto]:
    """`codes` times int8 `weight`, at the scale of x, and the epilogue: y (B, M, N)."""
    steps = [("Mul", "peak", "")]
    if epilogue:
        steps.append(("Add", "bias", ""))
    if epilogue == "BiasGelu":
        steps.append(("Gelu", "", CONTRIB))
    if epilogue == "BiasAdd":
        steps.append(("Add", "residual", ""))
    names = ["product", *(f"step{i}" for i in range(1, len(steps))), "y"]
    return [
        node("Mul", f"{weight_scale} step", "code_scale"),  # folded at load
        node(
            "MatMulIntegerToFloat",
            f"{codes} {weight} one code_scale zero_point weight_zero_point",
            "product",
            domain=CONTRIB,
        ),
        *(
            node(operator, f"{names[i]} {other}", names[i + 1], domain=domain)
            for i, (operator, other, domain) in enumerate(steps)
        ),
    ]


def epilogue_inputs(epilogue: str) -> list[str]:
    """The inputs that an epilogue adds to an operator, in order."""
    residual = ["residual"] if epilogue == "BiasAdd" else []
    return ["bias", *residual] if epilogue else []


def int8_linear(epilogue: str = "") -> FunctionProto:
    """y = x W for int8 W (K, N) with a scale per output (N,); x is quantised per token."""
    body = [*constants(), *quantise(), *multiply("codes", "weight", "scale", epilogue)]
    inputs = ["x", "weight", "scale", *epilogue_inputs(epilogue)]
    return helper.make_function(DOMAIN, f"{INT8}{epilogue}", inputs, ["y"], body, OPSETS)


def attention() -> FunctionProto:
    """softmax(q k^T / sqrt(d)) v per head; q (B, N, C), k and v (B, M, C)."""
    return helper.make_function(
        DOMAIN, "Attention", ["q", "k", "v"], ["y"], [_headed_product()], OPSETS, ["num_heads"]
    )


def cross_attention() -> FunctionProto:
    """The same as `attention`, but a compiled operator may round q, k and v to int8."""
    function = attention()
    function.name = "CrossAttention"
    return function


def layer_norm() -> FunctionProto:
    """Mean 0 and variance 1 over the last dimension of x, times gain plus offset."""
    norm = node("LayerNormalization", "x gain offset", "y", axis=-1)
    norm.attribute.append(helper.make_attribute_ref("epsilon", AttributeProto.FLOAT))
    return helper.make_function(
        DOMAIN, "LayerNorm", ["x", "gain", "offset"], ["y"], [norm], OPSETS, ["epsilon"]
    )


def self_attention() -> FunctionProto:
    """`cross_attention` of qkv (B, N, 3 C): queries, keys and values side by side."""
    body = [node("Split", "qkv", "q k v", axis=-1, num_outputs=3), _headed_product()]
    return helper.make_function(
        DOMAIN, "SelfAttention", ["qkv"], ["y"], body, OPSETS, ["num_heads"]
    )


def _headed_product() -> NodeProto:
    product = node("MultiHeadAttention", "q k v", "y", domain=CONTRIB)
    product.attribute.append(helper.make_attribute_ref("num_heads", AttributeProto.INT))
    return product


def repack_ternary() -> FunctionProto:
    """Ternary weights as stored in the file, `squeezed` (4, G), to `packed` of `shape`."""
    tables = repacking_tables()
    body = [
        constant("flat", [-1], np.int64),
        constant("start", [0], np.int64),
        node("Split", "squeezed", "byte0 byte1 byte2 byte3", axis=0, num_outputs=4),
        *(node("Cast", f"byte{i}", f"row{i}", to=TensorProto.INT32) for i in range(4)),
    ]
    for (row, plane), table in tables.items():
        body.append(constant(f"table{row}{plane}", table, np.uint8))
        body.append(node("Gather", f"table{row}{plane} row{row}", f"part{row}{plane}"))
    planes = ["part00"]
    for plane in range(1, 4):
        planes.append(f"plane{plane}")
        parts = f"part{plane - 1}{plane} part{plane}{plane}"
        body.append(node("BitwiseOr", parts, planes[-1]))
    planes.append("part34")
    body += [
        node("Concat", " ".join(planes), "planes", axis=0),
        node("Reshape", "planes flat", "padded"),
        node("ReduceProd", "shape", "end", keepdims=1),
        node("Slice", "padded start end", "bytes"),
        node("Reshape", "bytes shape", "packed"),
    ]
    return helper.make_function(
        DOMAIN, "RepackTernary", ["squeezed", "shape"], ["packed"], body, OPSETS
    )


def sparse_ternary_linear(epilogue: str = "") -> FunctionProto:
    """y = delta (mask * x) W_t with a mask per token, as in the paper (arXiv 2505.16447).

    Inputs: x (B, M, K); packed (K, N / 4) uint8, see `packing`; delta, a scalar or (N,);
    sparsity, a scalar. At sparsity 0 the branch that selects channels does not run.
    """
    dial = [
        constant("none_dropped", 0.0, np.float32),
        node("Greater", "sparsity none_dropped", "select"),
    ]
    dense = helper.make_graph(
        [node("Identity", "codes", "unmasked")], "dense", [], [_codes("unmasked")]
    )
    branch = node("If", "select", "used", then_branch=_selection(), else_branch=dense)
    body = [
        *constants(),
        *quantise(),
        *unpack(),
        *dial,
        branch,
        *multiply("used", "weight", "delta", epilogue),
    ]
    inputs = ["x", "packed", "delta", "sparsity", *epilogue_inputs(epilogue)]
    return helper.make_function(DOMAIN, f"{SPARSE}{epilogue}", inputs, ["y"], body, OPSETS)


def nested_ternary_linear(epilogue: str = "") -> FunctionProto:
    """y = delta (mask * x) W_t for a nested layer, whose mask keeps the channels of lowest rank.

    Inputs: x (..., K); packed (K, N / 4) uint8; delta, a scalar or (N,); sparsity, a scalar;
    rank (K,) int64, the place of every channel.

    Stock operators multiply by the zeros: onnxruntime prepares constant weights once for its
    product, and gathering some of them in every run would take longer than it saves.
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
    inputs = ["x", "packed", "delta", "sparsity", "rank", *epilogue_inputs(epilogue)]
    return helper.make_function(DOMAIN, f"{NESTED}{epilogue}", inputs, ["y"], body, OPSETS)


def slim_ternary_linear(epilogue: str = "") -> FunctionProto:
    """The same with zeros in y beyond the values that the next nested layer keeps."""
    function = nested_ternary_linear(epilogue)
    function.name = f"{SLIM}{epilogue}"
    function.node[-1].output[0] = "every_y"
    function.node.extend(_first_outputs())
    return function


def _first_outputs() -> list[NodeProto]:
    """`every_y` (..., N) to `y`, with zeros for what the next layer drops."""
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


def unpack() -> list[NodeProto]:
    """`packed` (K, N / 4) to the int8 `weight` (K, N); K as `inputs` (1,)."""
    return [
        constant("table", unpacking_table(), np.int8),
        constant("rest", [-1], np.int64),
        node("Cast", "packed", "index", to=TensorProto.INT32),
        node("Gather", "table index", "fields"),
        node("Shape", "packed", "inputs", end=1),
        node("Concat", "inputs rest", "weight_shape", axis=0),
        node("Reshape", "fields weight_shape", "weight"),
    ]


def _selection() -> Any:
    """The branch that clears all but the largest codes of every token: `largest_channels`."""
    magnitude = [
        constant("zero_code", ZERO_POINT, np.float32),
        node("Cast", "codes", "unsigned", to=TensorProto.FLOAT),
        node("Sub", "unsigned zero_code", "signed"),
        node("Abs", "signed", "size"),
    ]
    one, zero = (numpy_helper.from_array(np.array([v], dtype=np.uint8)) for v in (1, 0))
    mask = [
        node("TopK", "size kept", "largest_sizes best", axis=-1, sorted=0),
        node("Shape", "size", "size_shape"),
        node("ConstantOfShape", "size_shape", "none", value=zero),
        node("Shape", "best", "best_shape"),
        node("ConstantOfShape", "best_shape", "marks", value=one),
        node("ScatterElements", "none best marks", "keep", axis=-1),
    ]
    apply = [
        node("Cast", "keep", "is_kept", to=TensorProto.BOOL),
        node("Where", "is_kept codes zero_point", "masked"),
    ]
    steps = [*kept_count("inputs", "kept"), *magnitude, *mask, *apply]
    return helper.make_graph(steps, "select", [], [_codes("masked")])


def kept_count(channels: str, kept: str) -> list[NodeProto]:
    """`kept` (1,), how many of `channels` (1,) are kept at `sparsity`: `kept_channels`."""
    return [
        constant(f"{kept}_guard", ROUNDING_GUARD, np.float32),
        constant(f"{kept}_least", [1], np.int64),
        node("Cast", channels, f"{kept}_of", to=TensorProto.FLOAT),
        node("Sub", "one sparsity", f"{kept}_share"),
        node("Mul", f"{kept}_share {kept}_of", f"{kept}_exact"),
        node("Sub", f"{kept}_exact {kept}_guard", f"{kept}_guarded"),
        node("Ceil", f"{kept}_guarded", f"{kept}_whole"),
        node("Cast", f"{kept}_whole", f"{kept}_integer", to=TensorProto.INT64),
        node("Max", f"{kept}_integer {kept}_least", kept),
    ]


def _codes(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, None)
