# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tables that the documents carry: what was measured stands in the right column."""

import shutil

from bench import ablation, retrieval, tiles
from bench.worlds import office_corridor
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import find_model


def test_the_mean_of_a_rule_is_that_of_its_sets(capsys):
    row = {
        f"{name} {budget.name} R@1": 10.0 * number + step
        for number, name in enumerate(("tower", "corridor"))
        for step, budget in enumerate(tiles.BUDGETS)
    }
    row |= {name.replace("R@1", "R@100P"): 99.0 for name in row}
    tiles.print_table({"nested": row})
    header, _, line = capsys.readouterr().out.splitlines()
    assert header == "| rule | mean | tower | corridor |"
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[0] == "nested"
    assert cells[1:] == [
        "5.0 / 6.0 / 7.0 / 8.0 / 9.0",
        "0.0 / 1.0 / 2.0 / 3.0 / 4.0",
        "10.0 / 11.0 / 12.0 / 13.0 / 14.0",
    ]


def test_a_variant_has_its_costs_and_both_recalls(capsys):
    row = {"tower R@1": 40.0, "tower R@100P": 2.0, "trained, M": 7.8, "GMAC": 6.35}
    ablation.print_table({"full": row})
    assert capsys.readouterr().out.splitlines()[-1] == "| full | 7.80 | 6.35 | 40.0 / 2.0 |"


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
