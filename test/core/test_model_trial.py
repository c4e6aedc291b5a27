# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A model that takes all memory, never ends or crashes is refused; the process lives on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.core import model_trial
from vpr_ros.core.errors import ModelError
from vpr_ros.core.model_trial import try_model


def constant_of(path, *sizes):
    """Add a constant of these sizes to a model: a few bytes in the file."""
    model = onnx.load(path)
    shape = numpy_helper.from_array(np.array(sizes, np.int64), "bomb_shape")
    model.graph.initializer.append(shape)
    value = numpy_helper.from_array(np.ones(1, np.float32))
    descriptor = next(n for n in model.graph.node if n.output[0] == "descriptor")
    (kept,) = descriptor.input
    axes = numpy_helper.from_array(np.array([0, 1], np.int64), "bomb_axes")
    model.graph.initializer.append(axes)
    model.graph.node.remove(descriptor)
    model.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["bomb_shape"], ["bomb"], value=value),
            helper.make_node("ReduceSum", ["bomb", "bomb_axes"], ["bomb_sum"], keepdims=0),
            helper.make_node("Mul", ["bomb_sum", "bomb_zero"], ["nothing"]),
            helper.make_node("Add", [kept, "nothing"], ["descriptor"]),
        ]
    )
    zero = numpy_helper.from_array(np.array(0.0, np.float32), "bomb_zero")
    model.graph.initializer.append(zero)
    onnx.save(model, path)


def endless_loop(path):
    """Add a loop of 2**62 rounds, which every run computes, to a model."""
    model = onnx.load(path)
    descriptor = next(n for n in model.graph.node if n.output[0] == "descriptor")
    (kept,) = descriptor.input
    model.graph.node.remove(descriptor)
    float_, bool_ = TensorProto.FLOAT, TensorProto.BOOL
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["now"], ["then"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", bool_, []),
            helper.make_tensor_value_info("now", float_, ["batch", 4]),
        ],
        [
            helper.make_tensor_value_info("go_on", bool_, []),
            helper.make_tensor_value_info("then", float_, ["batch", 4]),
        ],
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(2**62, np.int64), "rounds"),
            numpy_helper.from_array(np.array(True), "begin"),
        ]
    )
    model.graph.node.append(
        helper.make_node("Loop", ["rounds", "begin", kept], ["descriptor"], body=body)
    )
    onnx.save(model, path)


def test_a_good_model_passes_and_a_bad_one_says_why(make_model):
    path = make_model()
    try_model(path, threads=1)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match=f"{path}.*(damaged|contract)"):
        try_model(path, threads=1)


def test_a_constant_of_gigabytes_is_refused(make_model):
    path = make_model()
    constant_of(path, 60_000, 60_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(ModelError, match=r"cannot be loaded|more than 4.0 GiB|unit descriptor"):
        try_model(path, threads=1)


def test_an_endless_loop_is_refused(make_model):
    path = make_model()
    endless_loop(path)
    with pytest.raises(ModelError, match="did not load within 5 s"):
        try_model(path, threads=1, seconds=5)


def test_an_endless_loop_ends_with_the_process_that_tries_it(make_model):
    path = make_model()
    endless_loop(path)
    code = f"from vpr_ros.core.model_trial import try_model; try_model({str(path)!r}, 1)"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: children.read_text())
        trial = int(children.read_text())
        until(lambda: cpu_ticks(trial) > 200)  # it is at it: imports take fewer
        process.kill()
    until(lambda: cpu_ticks(trial) is None)


def until(condition):
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def cpu_ticks(pid):
    """What a process has used; None if it has ended, though nobody may have collected it."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return None if words[0] == "Z" else int(words[11]) + int(words[12])


def test_a_file_of_gigabytes_is_not_even_opened(tmp_path):
    path = tmp_path / "huge.onnx"
    with open(path, "wb") as file:
        os.truncate(file.fileno(), 3 * 2**30)
    with pytest.raises(ModelError, match=r"has 3.0 GiB; at most 1 is loaded"):
        try_model(path, threads=1)


def test_a_crash_is_not_the_robots(make_model, monkeypatch):
    monkeypatch.setattr(model_trial.sys, "executable", "/bin/false")
    with pytest.raises(ModelError, match=r"failed in a trial \(exit status 1\)"):
        try_model(make_model(), threads=1)
