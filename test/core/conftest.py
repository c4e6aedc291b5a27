# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes, views and models small enough to know everything about."""

import dataclasses

import numpy as np
import pytest

from vpr_ros.core.contract import Contract
from vpr_ros.core.keyframe import Keyframe, LocalFeatures

CONTRACT = Contract(
    name="tiny",
    version="1",
    input_height=6,
    input_width=8,
    mean=(0.25, 0.25, 0.25),
    std=(1.0, 1.0, 1.0),
    descriptor_size=4,
    sparsity_max=0.5,
    dial="activations",
    tile="2x2",
    calibration=(),
    training_data="none",
    licence="Apache-2.0",
)


@pytest.fixture
def contract():
    return CONTRACT


@pytest.fixture
def make_keyframe():
    """make(id, t_s, descriptor): a keyframe of model 'm'."""

    def make(id, t_s, descriptor, **fields):
        fields = {"model": "m", "sparsity": 0.0, **fields}
        vector = np.asarray(descriptor, np.float32)
        return Keyframe(id=id, stamp_ns=round(t_s * 1e9), descriptor=vector, **fields)

    return make


@pytest.fixture
def make_features():
    """make(points, seed): features at the points (N, 2), the same descriptors for a seed."""

    def make(points, seed=0, camera_matrix=None):
        descriptors = np.random.default_rng(seed).integers(0, 256, (len(points), 32), np.uint8)
        return LocalFeatures(
            np.asarray(points, np.float32), descriptors, camera_matrix=camera_matrix
        )

    return make


@pytest.fixture
def make_model(tmp_path):
    """make(**changes of the contract): file of a network, unit(W sqrt(mean colour) + sparsity).

    It gives NaN for a black image, whose normalised values are negative.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def make(metadata=None, unit=True, height=6, size=4, **changes):
        contract = dataclasses.replace(CONTRACT, **changes)
        dial = contract.sparsity_max > 0
        weights = np.random.default_rng(0).normal(size=(3, size)).astype(np.float32)
        nodes = [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["colour"]),
            helper.make_node("Sqrt", ["colour"], ["root"]),
            helper.make_node("MatMul", ["root", "weights"], ["raw" if dial else "sum"]),
            *([helper.make_node("Add", ["raw", "sparsity"], ["sum"])] if dial else []),
            helper.make_node("LpNormalization", ["sum"], ["one"], axis=1, p=2),
            helper.make_node("Identity", ["one" if unit else "sum"], ["descriptor"]),
        ]
        shape = ["batch", 3, height, contract.input_width]
        inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
        if dial:
            inputs.append(helper.make_tensor_value_info("sparsity", TensorProto.FLOAT, []))
        outputs = [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["batch", size])]
        graph = helper.make_graph(
            nodes, "tiny", inputs, outputs, [numpy_helper.from_array(weights, "weights")]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, contract.to_metadata() if metadata is None else metadata)
        path = tmp_path / "tiny.onnx"
        onnx.save(model, str(path))
        return path

    return make
