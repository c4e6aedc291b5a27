# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter files: read as the nodes read them, written as the launch file takes them."""

import dataclasses
from pathlib import Path

import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.params import Settings, read_params, settings_from, write_params

ROOT = Path(__file__).resolve().parents[2]


def read(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    return read_params(tmp_path / "p.yaml")


def test_the_shipped_file_holds_the_defaults():
    assert read_params(ROOT / "config" / "vpr.yaml") == Settings()


def test_both_ways_to_write_a_group_and_whole_numbers(tmp_path):
    text = """
    /**:
      ros__parameters: {use_sim_time: true, loop.place_keyframes: 7, graph.window: 5}
    /vpr/encoder:
      ros__parameters: {gate.distance_m: 1, sparsity: 0.4, qos_overrides./image.depth: 5}
    vpr:
      database:
        ros__parameters:
          loop: {candidates: 30}
    """
    settings = read(tmp_path, text)
    assert (settings.gate.distance_m, settings.model.sparsity) == (1.0, 0.4)
    assert (settings.loop.candidates, settings.loop.place_keyframes) == (30, 7)
    assert settings.gate.angle_deg == Settings().gate.angle_deg


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encoder: {ros__parameters: {gate: {distanc_m: 1.0}}}", "parameter 'gate.distanc_m'"),
        ("database: {ros__parameters: {loop.candidates: 0}}", "'loop.candidates' is 0, out of"),
        ("database: {ros__parameters: {lop.candidates: 3}}", "parameter 'lop.candidates'"),
        ("encoder: {ros__parameters: 5}", "ros__parameters of encoder is 5"),
        ("- 1", "holds no parameters"),
        ("a: [", "cannot be read"),
    ],
)
def test_mistakes_are_told_with_the_file(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        read(tmp_path, text)
    assert "p.yaml" in str(error.value)


def test_what_is_written_is_read_back(tmp_path):
    settings = settings_from(None, "other.onnx", 0.6)
    loop = dataclasses.replace(settings.loop, score_threshold=0.9123)
    settings = dataclasses.replace(settings, loop=loop)
    write_params(tmp_path / "out.yaml", settings, "first line\nsecond line")
    assert read_params(tmp_path / "out.yaml") == settings
    assert (tmp_path / "out.yaml").read_text().startswith("# first line\n# second line\n/**/enc")
