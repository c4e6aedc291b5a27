# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a model file tells of itself follows from what was measured."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench import fill_contract
from bench.fill_contract import (
    THRESHOLD_SET,
    THRESHOLD_STEP,
    Level,
    _fastest,
    battery_levels,
    change_between,
    lowest_right,
    open_set,
    shot,
    still_distance,
    thresholds,
)
from tools import shared_sets
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.image_files import read_image
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.image_set import ImageSet

MODELS = Path(__file__).parents[2] / "models"
FOUND = [
    Level(0.0, 1.0, 80.0, 80.0),
    Level(0.2, 0.9, 79.5, 78.0),  # in its own map it costs too much
    Level(0.4, 0.7, 78.9, 90.0),
    Level(0.5, 0.75, 79.9, 90.0),  # slower than 0.4, but finds more
    Level(0.6, 0.6, 77.0, 78.0),
    Level(0.7, 0.5, 79.9, 76.0),  # the fastest, but not good enough to map with
]


@pytest.fixture(scope="module")
def sets(shared_data, tmp_path_factory):
    """The image sets that a still camera and the thresholds are measured on."""
    folder = tmp_path_factory.mktemp("sets")
    shared_sets.rtabmap_samples(shared_data, folder)
    shared_sets.campus_robot(shared_data, folder)
    return folder


@pytest.mark.parametrize(
    ("cost", "sparsity"), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.5), (1.2, 0.4), (3.0, 0.6)]
)
def test_a_level_is_the_fastest_that_costs_no_more(cost, sparsity):
    assert _fastest(FOUND, cost).sparsity == sparsity


def test_the_level_of_a_low_battery_is_no_lower_than_that_of_a_medium_one():
    assert battery_levels(FOUND) == (0.5, 0.6)
    falling = [
        Level(0.0, 1.0, 80.0, 80.0),
        Level(0.2, 0.8, 77.5, 77.5),
        Level(0.4, 0.9, 79.9, 80.0),
    ]
    assert battery_levels(falling) == (0.4, 0.4)


def test_only_right_best_matches_set_the_threshold():
    paths = (Path("a.jpg"),) * 3
    image_set = ImageSet("made", paths, paths, tuple(map(np.array, ([0], [2], [2]))), "")
    places = np.eye(3, dtype=np.float32)
    queries = np.array([[0.8, 0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], np.float32)  # the second: wrong
    assert lowest_right(image_set, queries, places) == pytest.approx(0.8)


def test_thresholds_let_every_right_match_through(sets):
    encoder = Encoder(find_model("mobilenetv2-gem"))
    image_set = open_set(sets, THRESHOLD_SET)
    found = thresholds(encoder, image_set)
    assert [point.sparsity for point in found] == [0.0, 0.2, 0.4, 0.6, 0.75]
    scores = [point.score_threshold for point in found]
    assert scores == sorted(scores, reverse=True)
    places, queries = (
        np.stack([encoder.encode(read_image(p)) for p in paths])
        for paths in (image_set.database, image_set.queries)
    )
    lowest = lowest_right(image_set, queries, places)
    assert scores[0] <= lowest < scores[0] + THRESHOLD_STEP


@pytest.mark.parametrize(("still", "moved", "change"), [(0.013, 0.056, 0.03), (0.04, 0.5, 0.1)])
def test_change_lies_between_in_one_digit(still, moved, change):
    assert change_between(still, moved) == change


def test_two_shots_differ_a_little():
    image = np.full((60, 80, 3), 120, np.uint8)
    one, other = (shot(image, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == image.shape and one.dtype == np.uint8
    assert 0 < np.abs(one.astype(int) - other).mean() < 10


@pytest.mark.parametrize("name", [path.stem for path in sorted(MODELS.glob("*.onnx"))])
def test_a_still_camera_shows_one_view(name, sets):
    encoder = Encoder(MODELS / f"{name}.onnx")
    paths = open_set(sets, "rtabmap_samples").database[::30]
    assert 0.0 < still_distance(encoder, [read_image(p) for p in paths]) < encoder.contract.change


def test_what_was_measured_goes_into_the_file(sets, tmp_path, monkeypatch, capsys):
    path = tmp_path / "copy.onnx"
    shutil.copy(find_model("mobilenetv2-gem"), path)
    before = Encoder(path).contract
    monkeypatch.setattr(fill_contract, "LEVEL_SETS", ("rtabmap_samples",))
    monkeypatch.setattr(fill_contract, "thresholds", lambda *given: list(before.calibration[:2]))
    monkeypatch.setattr(fill_contract, "levels", lambda *given: FOUND)
    monkeypatch.setattr(fill_contract, "still_distance", lambda *given: 0.01)
    monkeypatch.setattr(fill_contract, "moved_distance", lambda *given: 0.04)
    arguments = [str(path), "--sets", str(sets), "--drive", "none"]
    monkeypatch.setattr("sys.argv", ["fill_contract", *arguments])
    assert fill_contract.main() == 0
    assert Encoder(path).contract == before
    monkeypatch.setattr("sys.argv", ["fill_contract", *arguments, "--write"])
    assert fill_contract.main() == 0
    after = Encoder(path).contract
    assert after.calibration == before.calibration[:2]
    assert (after.levels, after.change) == ((0.5, 0.6), 0.02)
    assert "Battery levels: medium 0.5, low 0.6" in capsys.readouterr().out


def test_a_missing_set_is_named(monkeypatch, capsys):
    arguments = [str(find_model("mobilenetv2-gem")), "--sets", "nowhere", "--drive", "none"]
    monkeypatch.setattr("sys.argv", ["fill_contract", *arguments])
    assert fill_contract.main() == 1
    assert "nowhere" in capsys.readouterr().err
