# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is joined into one operator, and what must not be."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.export.functions import DOMAIN, OPSETS, constant, int8_linear, node
from vpr_ros.export.fusion import fuse

GELU = [
    constant("root2", np.sqrt(2), np.float32),
    constant("one", 1.0, np.float32),
    constant("half", 0.5, np.float32),
    node("Div", "biased root2", "scaled"),
    node("Erf", "scaled", "erf"),
    node("Add", "erf one", "above"),
    node("Mul", "biased above", "twice"),
    node("Mul", "twice half", "y"),
]


def graph_of(*nodes, **shapes):
    constants = {
        "weight": np.ones((3, 4), np.int8),
        "scale": np.ones(4, np.float32),
        "bias": np.ones(4, np.float32),
    }
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"x": [1, 2, 3], **shapes}.items()
    ]
    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, "n"])]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return helper.make_graph(list(nodes), "test", inputs, output, stored)


def linear(output="product"):
    return node("Int8Linear", "x weight scale", output, DOMAIN)


def fused(graph, attention=True):
    fuse(graph, attention)
    return {n.op_type: list(n.input) for n in graph.node if n.op_type != "Constant"}


@pytest.mark.parametrize("order", ["product bias", "bias product"])
def test_bias(order):
    nodes = fused(graph_of(linear(), node("Add", order, "y")))
    assert nodes == {"Int8LinearBias": ["x", "weight", "scale", "bias"]}


def test_bias_and_gelu():
    nodes = fused(graph_of(linear(), node("Add", "product bias", "biased"), *GELU))
    assert nodes == {"Int8LinearBiasGelu": ["x", "weight", "scale", "bias"]}


def test_another_function_than_gelu_stays():
    other = [constant("half", 0.4, np.float32) if n.output[0] == "half" else n for n in GELU]
    nodes = fused(graph_of(linear(), node("Add", "product bias", "biased"), *other))
    assert "Int8LinearBias" in nodes and "Erf" in nodes


def test_a_residual_that_is_made_later_stands_before_its_reader():
    graph = graph_of(
        linear(),
        node("Add", "product bias", "biased"),
        node("Relu", "r", "later"),
        node("Add", "later biased", "y"),
        r=[1, 2, 4],
    )
    assert list(fused(graph)) == ["Relu", "Int8LinearBiasAdd"]
    assert graph.node[-1].input[-1] == "later"
    model = helper.make_model(
        graph,
        functions=[int8_linear("BiasAdd")],
        opset_imports=[*OPSETS, helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    onnx.checker.check_model(model)  # topological order


def test_what_two_read_is_not_swallowed():
    graph = graph_of(linear(), node("Add", "product bias", "b"), node("Mul", "b product", "y"))
    assert list(fused(graph)) == ["Int8Linear", "Add", "Mul"]


def test_a_product_of_two_activations_has_no_bias():
    graph = graph_of(linear(), node("Add", "product r", "y"), r=[1, 2, 4])
    assert list(fused(graph)) == ["Int8Linear", "Add"]


def attention_graph(*others):
    return graph_of(
        node("Split", "qkv", "q k v", axis=-1, num_outputs=3),
        node("Attention", "q k v", "y", DOMAIN, num_heads=1),
        *others,
        qkv=[1, 2, 12],
    )


def test_attention_reads_what_a_split_cuts():
    assert fused(attention_graph()) == {"SelfAttention": ["qkv"]}


def test_a_split_that_others_read_stays():
    nodes = fused(attention_graph(node("Relu", "q", "other")))
    assert list(nodes) == ["Split", "SelfAttention", "Relu"]


def test_attention_to_another_sequence():
    graph = graph_of(node("Attention", "a b b", "y", DOMAIN), a=[1, 2, 4], b=[1, 3, 4])
    assert fused(graph) == {"CrossAttention": ["a", "b", "b"]}


def test_attention_of_float_files_keeps_a_name_that_no_library_takes():
    assert list(fused(attention_graph(), attention=False)) == ["Split", "Attention"]


@pytest.mark.parametrize(("axis", "name"), [(-1, "LayerNorm"), (1, "LayerNormalization")])
def test_norms_of_the_last_dimension(axis, name):
    norm = node("LayerNormalization", "x gain offset", "y", axis=axis, epsilon=1e-5)
    graph = graph_of(norm, gain=[3], offset=[3])
    assert list(fused(graph)) == [name]
