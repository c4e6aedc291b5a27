# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Models are found by path and by name."""

import pytest

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ModelError
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model


def test_by_path(tmp_path, monkeypatch):
    model = tmp_path / "mine.onnx"
    model.touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model(str(model)) == find_model("~/mine.onnx") == model


def test_by_shipped_name():
    path = find_model(DEFAULT_MODEL)
    assert path.name == f"{DEFAULT_MODEL}.onnx"
    assert Encoder(path).contract.name == DEFAULT_MODEL


def test_in_every_ros_prefix(tmp_path, monkeypatch):
    model = tmp_path / "b/share/vpr_ros/models/installed.onnx"
    model.parent.mkdir(parents=True)
    model.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert find_model("installed") == model


@pytest.mark.parametrize("name", ["resnet", "", "/nowhere/x.onnx", "/tmp", "~nobody-here/x"])
def test_an_unknown_model_lists_the_shipped_ones(name):
    with pytest.raises(ModelError, match=rf"Model '{name}' is neither.*{DEFAULT_MODEL}"):
        find_model(name)


@pytest.mark.parametrize("name", ["x" * 5000, "/" + "x/" * 5000, "a\0b", "\ud800", ""])
def test_names_that_no_file_can_have_are_refused(name):
    with pytest.raises(ModelError, match="is neither a file nor a shipped model") as error:
        find_model(name)
    assert len(str(error.value)) < 1000
