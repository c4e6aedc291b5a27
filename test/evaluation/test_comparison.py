# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The table of methods of a bag: worked by hand, and on the keyframes of a real run."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from vpr_ros.core.model_files import DEFAULT_MODEL
from vpr_ros.evaluation import comparison
from vpr_ros.evaluation.bag_evaluation import run_evaluate
from vpr_ros.evaluation.comparison import Comparison, drive_result
from vpr_ros.evaluation.replay import Request
from vpr_ros.evaluation.retrieval import Described
from vpr_ros.evaluation.truth import LoopRule, Trajectory, pose_truth


def line(*positions_m):
    """Poses along x, heading forward."""
    count = len(positions_m)
    positions = np.stack([positions_m, np.zeros(count), np.zeros(count)], 1).astype(float)
    rotations = np.tile([0.0, 0.0, 0.0, 1.0], (count, 1))
    return pose_truth(Trajectory(np.arange(count), positions, rotations), LoopRule(metres=1.0))


def unit(*degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def measured(truth, limits, descriptors, encode_ms=(1.0,)):
    """A method's result on keyframes of which only the truth is known."""
    limits = np.array(limits)
    nearest = truth.nearest(limits)
    drive = SimpleNamespace(truth=truth, nearest=nearest, first_recent=limits)
    return drive_result(Described("m", descriptors, encode_ms), drive)


def cells(one, *notes):
    return Comparison("m", 0.5, 1, (one,), notes).table().rows[1]


def test_a_method_by_hand():
    """Three places, each visited again: right at 0 degrees, wrong at 10, right at 20."""
    truth = line(0, 10, 20, 0, 10, 20)
    descriptors = unit(0, 50, 100, 0, 90, 120)
    one = measured(truth, [0, 0, 0, 3, 3, 3], descriptors, [1.0, 3.0, 2.0])
    assert one.recall == {1: pytest.approx(2 / 3), 5: 1.0, 10: 1.0, 20: 1.0}
    assert one.recall_at_full_precision == pytest.approx(1 / 3)
    assert one.average_precision == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert one.max_f1 == pytest.approx(2 / 3)  # all accepted: precision and recall 2/3
    assert (one.encode_p50_ms, one.descriptor_bytes) == (2.0, 8)
    assert cells(one) == (
        "m", "1", "33.3", "0", "66.6", "100.0", "100.0", "55.5", "66.6", "2.0", "8",
    )  # fmt: skip


def test_without_a_revisit_is_not_defined():
    truth, descriptors = line(0, 10, 20), unit(0, 50, 100)
    one = measured(truth, [0, 1, 2], descriptors)
    assert all(math.isnan(v) for v in (*one.recall.values(), one.max_f1))
    assert cells(one)[2:9] == ("-",) * 7


def test_a_match_that_the_truth_does_not_know_is_left_out():
    truth, descriptors = line(0, math.nan, 0), unit(0, 50, 50)
    one = measured(truth, [0, 0, 2], descriptors)  # the best match of 2 is 1, without a pose
    assert (one.recall[1], one.recall[5]) == (0.0, 1.0)
    assert one.average_precision == 0.0  # nothing could be judged, the revisit was possible


def evaluated(tmp_path, bag, **options):
    run = run_evaluate(Request(bag), tmp_path / "results", **options)
    folder = tmp_path / "results" / "latest"
    return run, json.loads((folder / "metrics.json").read_text()), folder


def test_the_baselines_stand_beside_the_model(tmp_path, lap_bag, capsys):
    run, metrics, folder = evaluated(tmp_path, lap_bag(), sequence=3)
    lines = metrics["methods"]
    assert [(one["method"], one["sequence"]) for one in lines] == [
        (name, length)
        for name in (DEFAULT_MODEL, "mobilenetv2-gem", "thumbnail", "orb-bow")
        for length in (0, 3)
    ]
    # The model's line is what the replay through the detector found.
    curve = run.drive.curve
    assert lines[0]["average_precision"] == pytest.approx(curve.average_precision)
    assert lines[0]["recall_at_full_precision"] == curve.recall_at_full_precision
    assert lines[0]["recall"]["1"] == metrics["recall_at_1"]
    # The second lap shows the very same pictures, so that nobody can miss.
    assert {one["recall"]["1"] for one in lines if not one["sequence"]} == {1.0}
    assert all(one["recall"]["10"] > 0.9 for one in lines if one["sequence"])
    page = (folder / "report.html").read_text()
    assert "Against the baselines" in page and "<td>orb-bow</td>" in page
    assert "trained its vocabulary on this very bag" in capsys.readouterr().out


def test_without_baselines(tmp_path, lap_bag, capsys):
    _, metrics, folder = evaluated(tmp_path, lap_bag(), baselines=False)
    assert "methods" not in metrics
    assert "Against the baselines" not in (folder / "report.html").read_text()
    assert "thumbnail" not in capsys.readouterr().out


def stripes(k):
    row = 128 + 80 * np.sin(np.arange(160) / 8 + k)
    return np.broadcast_to(row[:, np.newaxis], (120, 160, 3)).astype(np.uint8)


def test_what_cannot_be_measured_is_named(tmp_path, bag_writer, monkeypatch):
    """Soft stripes without a corner, and more keyframes than sequences may have."""
    monkeypatch.setattr(comparison, "LONGEST", 3)
    with bag_writer(tmp_path / "b", "mcap") as bag:
        for k in range(30):  # the last are revisits
            bag.odometry(4 * k, 2 * (k % 28), 0)
            bag.image(4 * k + 0.01, stripes(k))
    _, metrics, _ = evaluated(tmp_path, tmp_path / "b")
    assert [one["method"] for one in metrics["methods"]] == [
        DEFAULT_MODEL,
        "mobilenetv2-gem",
        "thumbnail",
    ]
    assert "orb-bow is left out: The database shows 0 ORB" in metrics["methods_notes"][0]
    assert "Sequences are left out: more than 3 keyframes." in metrics["methods_notes"]
