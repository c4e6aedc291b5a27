# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`vpr calibrate` loses nothing on the bag it is given, and says what it changed."""

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest

from vpr_ros.core.calibration import Calibration, read_calibrations
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.loop_confidence import required
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.evaluation.bag_calibration import (
    CalibrationError,
    Trial,
    calibrate,
    lower_bound,
    needed,
    results_table,
    run_calibrate,
)
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.params import read_params, settings_from
from vpr_ros.evaluation.replay import Request
from vpr_ros.evaluation.truth import LoopRule

SURE, LIKELY = required(0.99) + 0.01, required(0.97) + 0.01


class World:
    """Matches with a confidence, a score and whether they are right, instead of a bag."""

    def __init__(self, matches, own=0.9, loop=None, revisits=100):
        self.settings = SimpleNamespace(loop=loop or LoopConfig(precision=0.99))
        self.contract, self.digest = SimpleNamespace(name="m"), ""
        self.encoded = {0.0: []}
        self._matches, self._own, self._revisits = matches, own, revisits

    def gate(self, loop, sparsity):
        found = loop.calibration_at(sparsity, Calibration(0.0, self._own), "m")
        room = 0 if loop.sets_score("m") else 1
        score = found.score_threshold
        return dataclasses.replace(found, score_threshold=2 * score - 1 if room else score)

    def replay(self, loop):
        gate, limit = self.gate(loop, 0.0).score_threshold, required(loop.precision)
        verdicts = []
        for index, (confidence, score, right) in enumerate(self._matches):
            if confidence >= limit and score >= gate:
                answer = SimpleNamespace(confidence=confidence, score=score)
                outcome = Outcome.RIGHT if right else Outcome.WRONG
                verdicts.append(SimpleNamespace(answer=answer, outcome=outcome, index=index))
        known = SimpleNamespace(missing="")
        drive = SimpleNamespace(verdicts=verdicts, revisits=self._revisits, truth=known)
        drive.of = lambda outcome: [v for v in verdicts if v.outcome is outcome]
        drive.count = lambda outcome: len(drive.of(outcome))
        return Trial(loop, (drive,))


def test_what_closes_well_stays():
    found = calibrate(World([(SURE, 0.95, True)] * 40 + [(0.5, 0.95, True)] * 20), 0.99)
    assert found.after is found.before and found.changes == ()
    assert "40 right of 40 closures support 92.7 %" in found.remark
    assert "Nothing was changed" in results_table(found).notes[0]


def test_a_long_bag_without_mistakes_may_lower_the_limit():
    found = calibrate(World([(SURE, 0.95, True)] * 300 + [(LIKELY, 0.95, True)] * 20), 0.99)
    assert found.after.right == 320 and found.after.loop.precision < 0.99
    assert found.remark == ""
    assert found.changes[0].startswith("loop.precision: 0.99 -> 0.97, since")


def test_wrong_closures_raise_it_as_far_as_needed():
    high = required(0.998) + 0.001
    matches = [(high, 0.95, True)] * 30 + [(SURE, 0.95, False)] * 3 + [(SURE, 0.95, True)] * 10
    found = calibrate(World(matches), 0.99)
    assert (found.after.right, found.after.wrong) == (30, 0)
    assert found.after.loop.precision == 0.995
    assert "closes 40 right and 3 wrong" in found.changes[0]


def test_a_threshold_that_stops_right_ones_is_lowered_and_no_other():
    matches = [(SURE, 0.95, True)] * 30 + [(SURE, 0.61, True)] * 3
    found = calibrate(World(matches, own=0.9), 0.99)
    assert (found.before.right, found.after.right) == (30, 33)
    (point,) = read_calibrations(found.after.loop.calibration).points
    assert point.score_threshold == 0.6 and found.after.loop.precision == 0.99
    assert found.changes == (
        "score threshold at sparsity 0: 0.80 -> 0.60, since 3 right closures score less",
    )
    # If wrong ones would come in with them, it stays.
    found = calibrate(World([*matches, *[(SURE, 0.62, False)] * 3], own=0.9), 0.99)
    assert found.after.right == 30 and found.changes == ()


def test_a_model_without_thresholds_gets_some():
    found = calibrate(World([(SURE, 0.7, True)] * 30, own=math.nan), 0.99)
    assert (found.before.right, found.after.right) == (0, 30)
    assert "none -> 0.68" in found.changes[0] or "none -> 0.70" in found.changes[0]


def test_a_bag_that_no_setting_suits():
    with pytest.raises(CalibrationError, match=r"reaches 99.0 %.* 5 right and 5 wrong"):
        calibrate(World([(1.0, 1.0, True)] * 5 + [(1.0, 1.0, False)] * 5), 0.99)
    with pytest.raises(CalibrationError, match="The bag has no loop"):
        calibrate(World([], revisits=0), 0.99)


def run(tmp_path, bag, sparsities, precision=0.99, **fields):
    """(what was found, the folder of the results)."""
    found = run_calibrate(Request(bag, **fields), sparsities, precision, tmp_path / "results")
    return found, tmp_path / "results" / "latest"


def test_a_bag_is_replayed_and_the_file_gives_what_was_counted(tmp_path, lap_bag, capsys):
    from vpr_ros.evaluation.bag_evaluation import run_evaluate

    found, folder = run(tmp_path, lap_bag(), [0.0, 0.6])
    assert found.sparsities == (0.0, 0.6)
    assert found.after.wrong == 0 and found.after.right >= found.before.right >= 18
    printed = capsys.readouterr().out
    assert "Too few loops to promise 99.0 %" in printed.replace("\n", " ")
    written = json.loads((folder / "calibration.json").read_text())
    assert sum(written["after"]["right"]) == found.after.right
    settings = read_params(folder / "vpr.yaml")
    assert settings.loop == found.after.loop
    model = dataclasses.replace(settings.model, sparsity=0.6)
    settings = dataclasses.replace(settings, model=model)
    again = run_evaluate(Request(lap_bag("db3"), settings), tmp_path / "e", baselines=False)
    assert again.drive.count(Outcome.RIGHT) == found.after.drives[1].count(Outcome.RIGHT)


def test_what_cannot_be_calibrated(tmp_path, lap_bag):
    bag = lap_bag()
    with pytest.raises(CalibrationError, match="The bag has no loop"):
        run(tmp_path, bag, [0.0], rule=LoopRule(metres=0.05))
    assert list((tmp_path / "results").iterdir()) == []
    with pytest.raises(CalibrationError, match="Precision 99 is out of range"):
        run(tmp_path, bag, [], precision=99)
    with pytest.raises(ConfigError, match=r"Sparsity 0.9 is out of range"):
        run(tmp_path, bag, [0.9], settings=settings_from(None))


def test_how_many_loops_promise_a_precision():
    assert needed(0.99) == 299  # 0.99 ** 299 < 0.05 <= 0.99 ** 298
    assert needed(0.9) == 29
    assert needed(1.0) == 0
    assert lower_bound(299, 299) >= 0.99 > lower_bound(298, 298)
    assert lower_bound(10, 10) == pytest.approx(0.05 ** (1 / 10))  # by hand: p ** 10 = 0.05
    assert lower_bound(0, 5) == 0.0
    # one of two: 1 - (1 - p) ** 2 = 0.05
    assert lower_bound(1, 2) == pytest.approx(1 - math.sqrt(0.95))
