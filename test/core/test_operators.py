# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which operators run, and why; without a library a model runs all the same."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from vpr_ros.core import encoder as encoder_module
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.operators import LIBRARY, NAMES, Operators, find_operators

IMAGE = np.full((9, 7, 3), 128, np.uint8)


@pytest.fixture
def model(make_model):
    """A model that says it has operators of ours, but none that a library would take over."""
    path = make_model()
    graph = onnx.load(path)
    helper.set_model_props(graph, {p.key: p.value for p in graph.metadata_props})
    graph.doc_string = NAMES[0].decode()
    onnx.save(graph, path)
    return path


def words(model, library, content=None, note=None):
    if content is not None:
        library.write_bytes(content)
    if note is not None:
        library.with_name("not_built.txt").write_text(note)
    found = find_operators(model, library)
    assert found.library is None
    return found.words


def test_without_a_library(model, tmp_path):
    library = tmp_path / "lib.so"
    assert words(model, library).startswith("stock operators: no library, see vpr_ros/kernels")
    assert words(model, library, note="no C++ compiler\n") == (
        "stock operators: no library, no C++ compiler"
    )


def test_a_broken_library(model, tmp_path):
    said = words(model, tmp_path / "lib.so", content=b"not a library")
    assert said.startswith("stock operators: the library does not load: ")
    assert str(tmp_path) in said


def test_forbidden(model, tmp_path, monkeypatch):
    monkeypatch.setenv("VPR_KERNELS", "off")
    assert words(model, tmp_path / "lib.so") == "stock operators: VPR_KERNELS=off"


def test_a_model_that_has_no_use_for_them(make_model, tmp_path):
    path = make_model()
    assert words(path, tmp_path / "lib.so") == "stock operators: this model needs no others"
    assert Encoder(path).operators == "stock operators: this model needs no others"


def test_an_empty_file_has_none(tmp_path):
    (tmp_path / "empty.onnx").touch()
    assert "no others" in words(tmp_path / "empty.onnx", tmp_path / "lib.so")


def test_the_encoder_can_do_without(model, tmp_path, monkeypatch):
    assert Encoder(model, compiled=False).operators == "stock operators: requested"
    broken = Operators("compiled operators, none", tmp_path / "no.so")
    monkeypatch.setattr(encoder_module, "find_operators", lambda path: broken)
    encoder = Encoder(model)
    assert encoder.operators.startswith("stock operators: the compiled ones failed: ")
    assert np.isclose(np.linalg.norm(encoder.encode(IMAGE)), 1.0)


def test_the_library_of_this_clone(model):
    if not LIBRARY.is_file():
        pytest.skip("not built here: python -m vpr_ros.kernels.build")
    assert find_operators(model).words.startswith("compiled operators, ")
    assert Encoder(model).operators.startswith("compiled operators, ")


def test_unknown_instructions_are_no_reason_to_fail(model, monkeypatch):
    if not LIBRARY.is_file():
        pytest.skip("not built here: python -m vpr_ros.kernels.build")
    monkeypatch.setenv("VPR_ROS_KERNELS_ISA", "mmx")
    # In a process of its own: the library chooses once.
    code = f"from vpr_ros.core.encoder import Encoder; print(Encoder({str(model)!r}).operators)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "stock operators: VPR_ROS_KERNELS_ISA" in done.stdout, done.stderr
