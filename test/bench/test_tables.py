# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tables that the documents carry: what was measured stands in the right column."""

import shutil

from bench import retrieval
from bench.worlds import office_corridor
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import find_model


def test_suggested_thresholds_go_into_the_file(shared_data, tmp_path, monkeypatch, capsys):
    path = tmp_path / "copy.onnx"
    shutil.copy(find_model("mobilenetv2-gem"), path)
    before = Encoder(path).contract
    arguments = [str(path), "--data", str(shared_data), "--sparsities", "0", "0.75", "--write"]
    monkeypatch.setattr("sys.argv", ["retrieval", *arguments])
    assert retrieval.main() == 0
    encoder = Encoder(path)
    assert [point.sparsity for point in encoder.contract.calibration] == [0.0, 0.75]
    assert encoder.contract.levels == before.levels
    world = office_corridor(shared_data)
    found = retrieval.describe(encoder, world, 0.0)
    same = retrieval.tops(world, found, found)
    threshold = encoder.contract.calibration[0].score_threshold
    assert threshold <= same.score[same.right].min() < threshold + retrieval.THRESHOLD_STEP
    assert f"{threshold:.3f}, suggested" in capsys.readouterr().out


def test_a_missing_set_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["r", str(find_model("mobilenetv2-gem")), "--data", "nowhere"])
    assert retrieval.main() == 1
    assert "nowhere" in capsys.readouterr().err
