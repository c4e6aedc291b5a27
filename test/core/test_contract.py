# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The contract survives its journey through metadata, and a broken one is refused."""

import dataclasses
import json
import math

import pytest

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.contract import Contract
from vpr_ros.core.errors import ModelError

POINTS = (Calibration(0.0, 0.8), Calibration(0.4, 0.6), Calibration(0.5))


def test_round_trip_with_and_without_nan(contract):
    sent = dataclasses.replace(contract, calibration=POINTS)
    metadata = sent.to_metadata()
    assert all("NaN" not in text for text in metadata.values())  # not JSON, others would choke
    got = Contract.from_metadata({**metadata, "other.tool": "x"}, "a.onnx")
    assert repr(got) == repr(sent)  # NaN is not equal to itself
    assert got.calibration[:2] == POINTS[:2]


@pytest.mark.parametrize(
    ("sparsity", "score"),
    [(0.0, 0.8), (0.1, 0.75), (0.4, 0.6), (0.45, None), (0.9, None)],
)
def test_thresholds_between_calibrations(contract, sparsity, score):
    point = dataclasses.replace(contract, calibration=POINTS).calibration_at(sparsity)
    assert point.sparsity == sparsity
    if score is None:
        assert math.isnan(point.score_threshold)
    else:
        assert point.score_threshold == pytest.approx(score)


@pytest.mark.parametrize(("sparsity", "score"), [(0.0, 0.7), (0.3, 0.7), (0.9, 0.5)])
def test_beyond_the_calibrations_the_nearest_holds(contract, sparsity, score):
    points = (Calibration(0.3, 0.7), Calibration(0.6, 0.5))
    calibrated = dataclasses.replace(contract, calibration=points)
    assert calibrated.calibration_at(sparsity).score_threshold == pytest.approx(score)


def test_without_calibration_nothing_is_promised(contract):
    point = contract.calibration_at(0.2)
    assert point.sparsity == 0.2 and math.isnan(point.score_threshold)


def test_values_of_older_files_that_nothing_reads_are_left_aside(contract):
    metadata = dataclasses.replace(contract, calibration=POINTS).to_metadata()
    points = json.loads(metadata["vpr.calibration"])
    older = [{**p, "confidence_slope": 8.0, "margin_threshold": None} for p in points]
    metadata["vpr.calibration"] = json.dumps(older)
    assert Contract.from_metadata(metadata, "a.onnx").calibration[:2] == POINTS[:2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vpr.name": None}, "the contract lacks name"),
        ({"vpr.colour": '"x"'}, "the contract has unknown colour"),
        ({"vpr.format": "2"}, "format 2; this version of vpr_ros reads 1"),
        ({"vpr.name": "tiny"}, "unreadable contract"),  # no JSON
        ({"vpr.name": "7"}, "name is 7, not a str"),
        ({"vpr.input_height": '"224"'}, "input_height is '224', not a int"),
        ({"vpr.input_height": "224.5"}, "input_height is 224.5"),
        ({"vpr.input_width": "0"}, "input_width 0"),
        ({"vpr.descriptor_size": "-4"}, "descriptor_size -4"),
        ({"vpr.descriptor_size": "true"}, "descriptor_size is True"),
        ({"vpr.sparsity_max": "1.0"}, "sparsity_max 1.0; it must lie in [0, 1)"),
        ({"vpr.sparsity_max": "NaN"}, "sparsity_max nan"),
        ({"vpr.sparsity_max": "null"}, "sparsity_max is None"),
        ({"vpr.levels": "[0.2]"}, "levels [0.2]; give none, or two"),
        ({"vpr.levels": "[0.4, 0.2]"}, "levels [0.4, 0.2]"),
        ({"vpr.levels": "[0.2, 0.9]"}, "levels [0.2, 0.9]"),
        ({"vpr.levels": "[0.2, NaN]"}, "levels [0.2, nan]"),
        ({"vpr.levels": "0.2"}, "unreadable contract"),
        ({"vpr.change": "2.1"}, "change 2.1; it must lie in"),
        ({"vpr.change": "NaN"}, "change nan"),
        ({"vpr.change": '"0.1"'}, "unreadable contract"),
        ({"vpr.mean": "[0.5, 0.5]"}, "unreadable contract"),
        ({"vpr.mean": "0.5"}, "unreadable contract"),
        ({"vpr.std": "[1, 0, 1]"}, "std (1.0, 0.0, 1.0)"),
        ({"vpr.calibration": "[1]"}, "unreadable contract"),
        ({"vpr.input_height": "60000"}, "input_height 60000; it must lie in [1, 8192]"),
        ({"vpr.input_width": "9" * 400}, "unreadable contract"),
        ({"vpr.mean": f"[0, 0, {'9' * 400}]"}, "unreadable contract"),
        ({"vpr.mean": "[0, 0, NaN]"}, "mean (0.0, 0.0, nan)"),
        ({"vpr.licence": "[" * 9999}, "unreadable contract"),
        ({"vpr.calibration": '[{"score_threshold": 1.5}]'}, "cosines lie in [-1, 1]"),
        ({"vpr.calibration": "3"}, "unreadable contract"),
        ({"vpr.calibration": '[{"recall": 1}]'}, "unreadable contract"),
    ],
)
def test_a_broken_contract_is_refused(contract, changes, message):
    changed = {**contract.to_metadata(), **changes}
    metadata = {key: text for key, text in changed.items() if text is not None}
    with pytest.raises(ModelError) as caught:
        Contract.from_metadata(metadata, "a.onnx")
    assert message in str(caught.value) and "a.onnx" in str(caught.value)


def test_a_model_of_somebody_else_has_none():
    with pytest.raises(ModelError, match=r"a.onnx has no vpr_ros contract"):
        Contract.from_metadata({"author": json.dumps("x")}, "a.onnx")


def test_change_survives_and_older_files_have_none(contract):
    metadata = dataclasses.replace(contract, change=0.1).to_metadata()
    assert Contract.from_metadata(metadata, "a.onnx").change == 0.1
    del metadata["vpr.change"]
    assert Contract.from_metadata(metadata, "a.onnx").change == 0.0


def test_levels_survive_and_older_files_have_none(contract):
    metadata = dataclasses.replace(contract, levels=(0.2, 0.35)).to_metadata()
    assert Contract.from_metadata(metadata, "a.onnx").levels == (0.2, 0.35)
    del metadata["vpr.levels"]
    assert Contract.from_metadata(metadata, "a.onnx").levels == ()
