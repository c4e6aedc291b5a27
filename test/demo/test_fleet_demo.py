# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fleet demo's verdict: who closed loops with whom, what must not be, and the page."""

import dataclasses
import sys

import numpy as np
import pytest

from demo import fleet_demo
from demo.fleet_demo import Closed, closure_table, faults_of, write_report
from tools import milvus_server

CLOSURES = [
    Closed("red", "red", 90, 10, 0.1, True),
    Closed("green", "red", 30, 20, 2.0, True),
    Closed("green", "red", 31, 21, 4.0, True),
    Closed("blue", "green", 80, 40, 3.0, True),
]


@pytest.mark.parametrize("module", [fleet_demo, milvus_server])
def test_an_unknown_argument_installs_and_starts_no_server(module, monkeypatch, capsys):
    monkeypatch.setattr(milvus_server, "install", lambda: pytest.fail("it begins"))
    monkeypatch.setattr(sys, "argv", ["demo", "--chek"])
    with pytest.raises(SystemExit):
        module.main()
    assert "usage:" in capsys.readouterr().err


def test_a_wrong_closure_across_robots_or_a_lost_keyframe_is_a_fault():
    assert faults_of(CLOSURES, 0) == ""
    wrong = dataclasses.replace(CLOSURES[3], right=False)
    assert "1 of 4 closures across robots are wrong" in faults_of([*CLOSURES, wrong], 0)
    assert "2 keyframes were lost" in faults_of(CLOSURES, 2)
    assert "no loop was closed across robots" in faults_of(CLOSURES[:1], 0)


def test_the_table_and_the_page_show_every_pair_of_robots(tmp_path):
    table = closure_table(CLOSURES, 100, 0)
    assert table.rows == (
        ("blue with green", "1", "0", "3.0", "3.0"),
        ("green with red", "2", "0", "3.0", "3.9"),
        ("red, at home", "1", "0", "0.1", "0.1"),
        ("across robots", "3", "0", "3.0", "3.9"),
    )
    assert closure_table([], 0, 0).rows == (("across robots", "0", "0", "-", "-"),)
    path = tmp_path / "report.html"
    spots = np.stack([np.linspace(0, 30, 100), np.linspace(0, 12, 100)], axis=1)
    write_report(path, table, CLOSURES, spots, 5.0)
    page = path.read_text()
    for text in ("3 loops closed across robots, 3 of them right", "green with red", "none"):
        assert text in page
