# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrations as text, and which thresholds hold in the end."""

import pytest

from vpr_ros.core.calibration import Calibration, calibration_text, read_calibrations
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.loop_config import LoopConfig

POINTS = (
    Calibration(0.0, 0.1 + 0.2),  # 0.30000000000000004: every digit counts
    Calibration(0.4, 0.9),
)


def test_what_is_written_is_read_back():
    text = calibration_text(POINTS)
    assert text.startswith("0.0 0.30000000000000004\n0.4 0.9\n")
    assert read_calibrations(text).model == ""
    assert read_calibrations(text).points == POINTS


def test_the_model_stands_before_the_rows():
    text = calibration_text(POINTS, "mine 2")
    assert text.startswith("model mine 2\n0.0 ")
    for written in (text, text.replace("\n", ";")):
        table = read_calibrations(written)
        assert table.model == "mine 2" and table.points[0] == POINTS[0]


@pytest.mark.parametrize("text", ["model; 0 0.9", "0 0.9; model"])
def test_a_name_that_is_none_is_a_bad_row(text):
    with pytest.raises(ConfigError, match="has the row 'model'"):
        read_calibrations(text)


def test_the_table_of_one_model_leaves_another_its_own():
    own = Calibration(0.0, 0.5)
    loop = LoopConfig(calibration="model a; 0 0.8")
    assert loop.calibration_at(0.0, own, "a").score_threshold == 0.8
    assert loop.calibration_at(0.0, own, "b") == own
    assert (loop.calibrated_for_another("a"), loop.calibrated_for_another("b")) == ("", "a")
    unnamed = LoopConfig(calibration="0 0.8")
    assert unnamed.calibration_at(0.0, own, "b").score_threshold == 0.8
    assert unnamed.calibrated_for_another("b") == ""


def test_rows_of_a_command_line_in_any_order():
    """Older tables have a margin, too."""
    found = read_calibrations(" 0.6 0.8; 0 0.9 0.05 ;").points
    assert found == (Calibration(0.0, 0.9), Calibration(0.6, 0.8))
    assert read_calibrations("").points == read_calibrations(" ;\n").points == ()


@pytest.mark.parametrize(
    "row", ["0", "0 high", "0 1.5", "1 0.9", "-0.1 0.9", "0 nan", "0 0.9 high", "0 0.9 0 30"]
)
def test_a_bad_row_is_named(row):
    with pytest.raises(ConfigError, match=f"has the row '{row}'; give sparsity"):
        LoopConfig(calibration=f"0.2 0.9 0; {row}")


def test_one_sparsity_twice():
    with pytest.raises(ConfigError, match=r"two rows for sparsity 0\.4"):
        read_calibrations("0.4 0.9; 0 0.8; 0.4 0.7")


def test_the_user_s_table_comes_before_the_model_s_own_and_one_value_before_both():
    own = Calibration(0.2, 0.5)
    assert LoopConfig().calibration_at(0.2, own, "m") == own
    table = "0 0.8; 0.4 0.9 0.04"
    found = LoopConfig(calibration=table).calibration_at(0.2, own, "m")
    assert found.score_threshold == pytest.approx(0.85)
    found = LoopConfig(calibration=table, score_threshold=0.6).calibration_at(0.2, own, "m")
    assert found.score_threshold == 0.6
    beyond = LoopConfig(calibration=table).calibration_at(0.75, own, "m")
    assert beyond.score_threshold == 0.9
