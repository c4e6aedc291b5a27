# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A refused model changes nothing, and the same path may hold another model."""

import os

import pytest
from rclpy.parameter import Parameter

from vpr_ros.core.errors import ModelError
from vpr_ros.core.model_files import ModelConfig, find_model
from vpr_ros.nodes import model_choice
from vpr_ros.nodes.model_choice import ModelChoice


class FakeEncoder:
    """Counts how often a file is read; a file with `bad` in it is refused."""

    read = 0

    def __init__(self, config):
        path = find_model(config.model)
        FakeEncoder.read += 1
        self.path, self.file = path, model_choice.file_identity(path)
        self.operators = self.provider = "none"
        self.content = path.read_text()
        if "bad" in self.content:
            raise ModelError("bad")


@pytest.fixture
def choice(monkeypatch):
    monkeypatch.setattr(model_choice, "open_encoder", FakeEncoder)
    monkeypatch.setattr(model_choice, "try_model", lambda *_: None)
    FakeEncoder.read = 0
    return ModelChoice(lambda text: None)


def set_model(choice, path):
    """As a change of the parameter does: checked, then applied."""
    choice.begin({"model"})
    config = ModelConfig(model=str(path))
    choice.load(config)
    choice.use(choice.load(config), config.model)
    return config


def test_a_model_is_read_once_and_others_parameters_do_not_read_it(choice, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("one")
    config = set_model(choice, path)
    path.unlink()
    for names in ({"gate.distance_m"}, {"sparsity", "view.mask"}):
        choice.begin(names)
        assert choice.load(config).content == "one"
    assert FakeEncoder.read == 1


def test_the_same_path_is_read_again_if_the_file_has_changed(choice, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("one")
    set_model(choice, path)
    config = set_model(choice, path)
    assert FakeEncoder.read == 1, "the file is the same"
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    choice.begin({"sparsity"})
    assert choice.load(config).content == "one", "nobody has asked for another model"
    assert choice.load(set_model(choice, path)).content == "two"


def test_a_refused_model_leaves_the_one_in_force(choice, tmp_path):
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    good.write_text("good")
    bad.write_text("bad")
    config = set_model(choice, good)
    with pytest.raises(ModelError):
        set_model(choice, bad)
    choice.begin({"gate.change"})
    assert choice.load(config).content == "good" and FakeEncoder.read == 2
    # loaded, but refused for another reason, such as a sparsity out of its range
    other = tmp_path / "other.onnx"
    other.write_text("other")
    choice.begin({"model"})
    choice.load(ModelConfig(model=str(other)))
    choice.begin({"view.mask"})
    assert choice.load(config).content == "good" and FakeEncoder.read == 3


def test_setting_a_model_to_the_same_name_is_a_change(choice):
    from vpr_ros.nodes.parameters import Configs, Parameters

    parameters = Parameters.__new__(Parameters)
    parameters.configs, parameters._always = Configs([ModelConfig()]), ("model",)
    same = Configs([ModelConfig()])
    assert parameters._is_change([Parameter("model", value=ModelConfig().model)], same)
    assert not parameters._is_change([Parameter("sparsity", value=0.0)], same)
