# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled operators inside onnxruntime: they compute what their definitions say, or refuse.

VPR_OLD_PYTHON=old/bin/python, see test/export/test_oldest_onnxruntime.py, also runs them on the
oldest supported onnxruntime.
"""

import json
import os
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.core.operators import THREADS_SETTING
from vpr_ros.export import functions
from vpr_ros.export.functions import DOMAIN, EPILOGUES
from vpr_ros.export.packing import pack_ternary
from vpr_ros.export.transformer import IR_VERSION

TOKENS, INPUTS, OUTPUTS, HEADS = 1 + 4 * 5, 72, 60, 3
SPARSITIES = (0.0, 0.2, 0.4, 0.6)
TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
}


def session(model, library=None, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if library is not None:
        options.add_session_config_entry(THREADS_SETTING, str(threads))
        options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def model_of(function, constants, feed, **attributes):
    """One node that calls `function`: inputs from `constants` are stored, those of `feed` fed."""
    inputs = [
        helper.make_tensor_value_info(name, TYPES[value.dtype], [None] * value.ndim)
        for name, value in feed.items()
    ]
    node = helper.make_node(
        function.name, list(function.input), ["y"], "node7", domain=DOMAIN, **attributes
    )
    graph = helper.make_graph(
        [node],
        "one",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [*functions.OPSETS, helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(
        graph, functions=[function], opset_imports=opsets, ir_version=IR_VERSION
    )


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def epilogue_of(epilogue, batch):
    """Bias as a constant, residual as an input."""
    bias = {"bias": random(OUTPUTS)} if epilogue else {}
    return bias, {"residual": random(batch, TOKENS, OUTPUTS)} if epilogue == "BiasAdd" else {}


def per_token(batch=1):
    """A model of one SparseTernaryLinear, which the library does not have, and its feed."""
    codes = np.random.default_rng(1).integers(-1, 2, (INPUTS, OUTPUTS)).astype(np.int8)
    constants = {"packed": pack_ternary(codes), "delta": np.array(0.3, np.float32)}
    feed = {"x": random(batch, TOKENS, INPUTS), "sparsity": np.array(0.4, np.float32)}
    return model_of(functions.sparse_ternary_linear(), constants, feed), feed


def nested(epilogue="", batch=1, slim=False, **changes):
    """A model of one nested layer and its feed."""
    codes = np.random.default_rng(1).integers(-1, 2, (INPUTS, OUTPUTS)).astype(np.int8)
    bias, residual = epilogue_of(epilogue, batch)
    constants = {
        "packed": pack_ternary(codes),
        "delta": np.abs(random(OUTPUTS)) + 0.1,
        "rank": np.random.default_rng(2).permutation(INPUTS),
        **bias,
    }
    feed = {"x": random(batch, TOKENS, INPUTS), "sparsity": np.array(0.4, np.float32), **residual}
    constants |= {name: value for name, value in changes.items() if name in constants}
    feed |= {name: value for name, value in changes.items() if name in feed}
    define = functions.slim_ternary_linear if slim else functions.nested_ternary_linear
    return model_of(define(epilogue), constants, feed), feed


def int8(epilogue="", batch=1, **changes):
    """A model of one Int8Linear and its feed."""
    bias, residual = epilogue_of(epilogue, batch)
    weight = np.random.default_rng(2).integers(-63, 64, (INPUTS, OUTPUTS)).astype(np.int8)
    constants = {"weight": weight, "scale": np.abs(random(OUTPUTS)) / 50, **bias}
    feed = {"x": random(batch, TOKENS, INPUTS), **residual}
    constants |= {name: value for name, value in changes.items() if name in constants}
    feed |= {name: value for name, value in changes.items() if name in feed}
    return model_of(functions.int8_linear(epilogue), constants, feed), feed


def self_attention(heads=HEADS, batch=1, qkv=None):
    feed = {"qkv": random(batch, TOKENS, 3 * INPUTS) if qkv is None else qkv}
    return model_of(functions.self_attention(), {}, feed, num_heads=heads), feed


def cross_attention(batch=1, **changes):
    q, k, v = random(batch, 7, INPUTS), random(batch, TOKENS, INPUTS), random(batch, 21, INPUTS)
    feed = {"q": q, "k": k, "v": v, **changes}
    return model_of(functions.cross_attention(), {}, feed, num_heads=HEADS), feed


def layer_norm(**changes):
    constants = {"gain": random(INPUTS), "offset": random(INPUTS) + 1}
    constants |= {name: value for name, value in changes.items() if name in constants}
    feed = {"x": random(2, TOKENS, INPUTS) * 3 + 2}
    return model_of(functions.layer_norm(), constants, feed, epsilon=1e-5), feed


def relative_error(model, feed, library, threads=1):
    stock = session(model).run(None, feed)[0]
    own = session(model, library, threads).run(None, feed)[0]
    assert own.shape == stock.shape
    return np.linalg.norm(own - stock) / np.linalg.norm(stock)


@pytest.mark.parametrize("slim", [False, True])
@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (3, 2)])
def test_nested_ternary_linear(kernels, epilogue, slim, batch, threads):
    for delta in (np.array(0.3, np.float32), np.abs(random(OUTPUTS)) + 0.1):
        model, feed = nested(epilogue, batch, slim, delta=delta)
        for sparsity in (*SPARSITIES, 0.999):
            feed["sparsity"] = np.array(sparsity, np.float32)
            assert relative_error(model, feed, kernels.path, threads) < 1e-5


def test_a_choice_per_token_runs_on_its_definition_beside_the_library(kernels):
    """The library has no such operator, so that nothing may change."""
    model, feed = per_token(batch=2)
    for sparsity in SPARSITIES:
        feed["sparsity"] = np.array(sparsity, np.float32)
        assert relative_error(model, feed, kernels.path) == 0.0


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (3, 2)])
def test_int8_linear(kernels, epilogue, batch, threads):
    assert relative_error(*int8(epilogue, batch), kernels.path, threads) < 1e-5


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (3, 2)])
def test_attention_rounds_to_int8(kernels, batch, threads):
    for model, feed in (self_attention(batch=batch), cross_attention(batch)):
        assert 1e-4 < relative_error(model, feed, kernels.path, threads) < 0.03


@pytest.mark.parametrize("threads", [1, 2])
def test_layer_norm(kernels, threads):
    assert relative_error(*layer_norm(), kernels.path, threads) < 1e-6


def test_the_library_really_takes_over(kernels, tmp_path):
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    options.register_custom_ops_library(str(kernels.path))
    model, feed = nested(epilogue="BiasGelu")
    opened = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    opened.run(None, feed)
    with open(opened.end_profiling()) as file:
        events = json.load(file)
    ran = {e["args"]["op_name"] for e in events if e["name"].endswith("_kernel_time")}
    assert ran == {"NestedTernaryLinearBiasGelu"}


def test_what_is_not_a_number_stays_in_its_token(kernels):
    model, feed = nested(rank=np.arange(INPUTS))
    feed["x"][0, 3, 5] = np.nan  # of a channel that is kept
    y = session(model, kernels.path).run(None, feed)[0]
    assert np.isnan(y[0, 3]).all()
    assert np.isfinite(np.delete(y[0], 3, axis=0)).all()


@pytest.mark.parametrize("make", [nested, int8, self_attention, cross_attention])
def test_an_empty_batch_gives_an_empty_batch(kernels, make):
    model, feed = make(batch=0)
    assert session(model, kernels.path).run(None, feed)[0].size == 0


PACKED = np.zeros((INPUTS, OUTPUTS // 4), np.uint8)
MALFORMED = {
    "x with other channels": (nested, {"x": random(1, TOKENS, 71)}, r"input x 'x' has.*71\)"),
    "sparsity of one": (nested, {"sparsity": np.array(1.0, np.float32)}, "sparsity is 1"),
    "sparsity of NaN": (nested, {"sparsity": np.array(np.nan, np.float32)}, "sparsity is nan"),
    "two sparsities": (nested, {"sparsity": random(2)}, r"input sparsity 'sparsity'.*1 value"),
    "packed of rank 3": (nested, {"packed": PACKED[None]}, "input packed 'packed'.*rank 2"),
    "packed empty": (nested, {"packed": PACKED[:0]}, "input packed 'packed' is empty"),
    "packed code 3": (nested, {"packed": PACKED + 3}, "packed weight of channel 0.*is 3"),
    "ranks too few": (nested, {"rank": np.arange(3)}, "3 ranks for 72 inputs"),
    "rank twice": (nested, {"rank": np.zeros(INPUTS, np.int64)}, "Rank 0 is out of range or"),
    "bias too short": (
        lambda **c: nested(epilogue="Bias", **c),
        {"bias": random(OUTPUTS - 1)},
        r"input bias 'bias' has shape \(59\), but must have 60 value",
    ),
    "residual of another shape": (
        lambda **c: int8(epilogue="BiasAdd", **c),
        {"residual": random(1, 1, OUTPUTS)},
        r"input residual 'residual' has shape \(1, 1, 60\)",
    ),
    "deltas too few": (nested, {"delta": random(3)}, "input delta 'delta'.*60 value"),
    "scale too long": (int8, {"scale": random(OUTPUTS + 1)}, "input scale 'scale' has 61"),
    "weight of rank 1": (int8, {"weight": np.zeros(4, np.int8)}, "input weight 'weight'.*rank 2"),
    "qkv not in three": (self_attention, {"qkv": random(1, 5, 8)}, "input qkv 'qkv'.*three"),
    "heads do not divide": (self_attention, {"heads": 7}, "input qkv 'qkv'.*7 heads"),
    "no heads": (self_attention, {"heads": 0}, "num_heads is 0"),
    "keys of another batch": (
        cross_attention,
        {"k": random(2, TOKENS, INPUTS)},
        r"input k 'k' has shape \(2, 21, 72\).*do not match input q 'q'",
    ),
    "gain too short": (layer_norm, {"gain": random(5)}, "input gain 'gain'.*72 value"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_graph_is_refused_by_name(kernels, case):
    make, changes, message = MALFORMED[case]
    model, feed = make(**changes)
    operator = model.graph.node[0].op_type
    with pytest.raises(Exception, match=rf"vpr_ros::{operator} 'node7': .*{message}"):
        session(model, kernels.path).run(None, feed)


@pytest.mark.parametrize(
    ("make", "name"),
    [(nested, "packed"), (nested, "rank"), (int8, "weight"), (int8, "scale")],
)
def test_weights_must_be_constant(kernels, make, name):
    model, _ = make()
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    model.graph.input.append(
        helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
    )
    model.graph.initializer.remove(tensor)
    with pytest.raises(Exception, match=f"input {name} '{name}' must be constant"):
        session(model, kernels.path)


def test_a_wrong_type_is_refused(kernels):
    model, _ = int8(x=random(1, TOKENS, INPUTS).astype(np.float64))
    with pytest.raises(Exception, match=r"double.*\(x\).*Int8Linear"):
        session(model, kernels.path)


def test_sessions_side_by_side(kernels):
    """Kernels share nothing that a run changes."""
    model, feed = nested(epilogue="BiasGelu")
    opened = [session(model, kernels.path, threads) for threads in (1, 2, 1)]
    expected = opened[0].run(None, feed)[0]
    for _ in range(3):
        for one in opened:
            assert np.array_equal(one.run(None, feed)[0], expected)


RUN = """
import sys, numpy, onnxruntime
library, folder = sys.argv[1:]
feed = dict(numpy.load(folder + "/feed.npz"))
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(library)
opened = onnxruntime.InferenceSession(
    folder + "/model.onnx", options, providers=["CPUExecutionProvider"]
)
numpy.save(folder + "/y.npy", opened.run(None, feed)[0])
print(onnxruntime.__version__)
"""


@pytest.mark.parametrize("make", [nested, int8, self_attention, cross_attention, layer_norm])
def test_the_oldest_onnxruntime_gives_the_same(kernels, make, tmp_path):
    old = os.environ.get("VPR_OLD_PYTHON")
    if not old:
        pytest.skip("VPR_OLD_PYTHON names no other Python")
    model, feed = make()
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "feed.npz", **feed)
    command = [old, "-c", RUN, str(kernels.path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.19.")
    expected = session(model, kernels.path).run(None, feed)[0]
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)


def test_gelu_is_the_exact_one(kernels):
    model, feed = int8(epilogue="BiasGelu")
    plain, _ = int8(epilogue="Bias")
    y = torch.from_numpy(session(plain, kernels.path).run(None, feed)[0])
    found = torch.from_numpy(session(model, kernels.path).run(None, feed)[0])
    assert float((torch.nn.functional.gelu(y) - found).abs().max()) < 1e-5
