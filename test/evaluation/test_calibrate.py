# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`vpr calibrate`: thresholds from a bag, in a file the nodes take."""

import dataclasses
import json

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("rich")
pytest.importorskip("typer")

from vpr_ros.cli import _model_writer
from vpr_ros.core.calibration import Calibration
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model
from vpr_ros.evaluation.bag_calibration import CalibrationError, run_calibrate
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.params import read_params, settings_from
from vpr_ros.evaluation.replay import Request
from vpr_ros.evaluation.truth import LoopRule


def calibrate(tmp_path, bag, sparsities, precision=0.99, **fields):
    """(what was found, the folder of the results)."""
    model_output = fields.pop("model_output", None)
    request = Request(bag, **fields)
    write = _model_writer() if model_output else None
    found = run_calibrate(
        request, sparsities, precision, tmp_path / "results", model_output, write
    )
    return found, tmp_path / "results" / "latest"


def test_thresholds_per_sparsity_and_what_is_written(tmp_path, lap_bag, capsys):
    found, folder = calibrate(tmp_path, lap_bag(), [0.0, 0.6])
    assert [one.calibration.sparsity for one in found] == [0.0, 0.6]
    for one in found:
        assert one.wrong == 0
        assert one.right >= 10
        assert one.calibration.score_threshold > 0.9
        assert not one.promised  # a dozen loops
    loop = read_params(folder / "vpr.yaml").loop
    nothing = Calibration()
    for point in (one.calibration for one in found):
        read = loop.calibration_at(point.sparsity, nothing, DEFAULT_MODEL)
        assert read.score_threshold == point.score_threshold
        assert read.margin_threshold == point.margin_threshold
    assert loop.calibrated_for_another("efficientvpr-s").startswith(f"{DEFAULT_MODEL} (weights")
    between = loop.calibration_at(0.3, nothing, DEFAULT_MODEL).score_threshold
    mean = (found[0].calibration.score_threshold + found[1].calibration.score_threshold) / 2
    assert between == pytest.approx(mean)
    assert "calibration: |\n" in (folder / "vpr.yaml").read_text()  # a row a line
    written = json.loads((folder / "calibration.json").read_text())["calibrations"]
    assert written[1]["calibration"]["sparsity"] == 0.6
    assert written[0]["promised"] is False
    printed = capsys.readouterr().out
    assert "Sparsity 0: too few loops to promise 99.0 %" in printed
    assert "299 without a mistake are needed" in printed


def test_a_model_that_knows_its_thresholds(tmp_path, lap_bag):
    pytest.importorskip("onnx")
    model = tmp_path / "mine.onnx"
    found, folder = calibrate(tmp_path, lap_bag(), [0.0, 0.6], model_output=model)
    contract = Encoder(model).contract
    assert contract.calibration == tuple(one.calibration for one in found)
    settings = read_params(folder / "vpr.yaml")
    assert settings.model.model == str(model)
    assert (settings.loop.score_threshold, settings.loop.calibration) == (-1.0, "")
    assert list(tmp_path.glob(".*")) == []


def test_by_default_at_the_levels_of_the_battery_too(tmp_path, lap_bag):
    found, _ = calibrate(tmp_path, lap_bag(), [], precision=0.7)
    levels = Encoder(find_model(DEFAULT_MODEL)).contract.levels
    assert [one.calibration.sparsity for one in found] == sorted({0.0, *levels, 0.6})


def test_too_low_a_precision_to_need_many_loops(tmp_path, lap_bag):
    found, _ = calibrate(tmp_path, lap_bag(), [0.0], precision=0.7)
    assert found[0].promised  # 0.7 ** 10 < 0.05
    assert found[0].remark == ""


def test_without_a_loop_it_says_so(tmp_path, lap_bag):
    with pytest.raises(CalibrationError, match="the bag has no loop"):
        calibrate(tmp_path, lap_bag(), [0.0], rule=LoopRule(metres=0.05))
    assert list((tmp_path / "results").iterdir()) == []


def test_precision_out_of_range(tmp_path, lap_bag):
    with pytest.raises(CalibrationError, match="Precision 99 is out of range"):
        calibrate(tmp_path, lap_bag(), [], precision=99)


def test_the_model_s_own_range_of_sparsity_is_kept(tmp_path, lap_bag):
    from vpr_ros.core.errors import ConfigError

    with pytest.raises(ConfigError, match=r"Sparsity 0.9 is out of range"):
        calibrate(tmp_path, lap_bag(), [0.9], settings=settings_from(None))


def test_the_thresholds_close_on_the_bag_what_they_promised(tmp_path, lap_bag):
    """The written file, read back by an evaluation, gives the closures that were counted."""
    from vpr_ros.evaluation.bag_evaluation import run_evaluate

    (found, *_), folder = calibrate(tmp_path, lap_bag(), [0.6])
    settings = read_params(folder / "vpr.yaml")
    model = dataclasses.replace(settings.model, sparsity=0.6)
    settings = dataclasses.replace(settings, model=model)
    run = run_evaluate(Request(lap_bag("db3"), settings), tmp_path / "evaluated", baselines=False)
    assert run.drive.count(Outcome.RIGHT) == found.right
    assert run.score_threshold == found.calibration.score_threshold
