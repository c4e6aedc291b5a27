# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Results are written whole or not at all."""

import os
from pathlib import Path

import pytest

from vpr_ros.core.errors import VprError
from vpr_ros.evaluation.run_folder import latest, run_folder


def test_two_runs_in_one_second_and_the_latest(tmp_path):
    for text in ("first", "second"):
        with run_folder(tmp_path / "results") as folder:
            (folder / "a.txt").write_text(text)
    assert (tmp_path / "results" / "latest" / "a.txt").read_text() == "second"
    assert latest(tmp_path / "results").name == os.readlink(tmp_path / "results" / "latest")
    assert len(list((tmp_path / "results").iterdir())) == 3  # two runs and the link


def test_a_folder_in_the_place_of_the_link_is_left_alone(tmp_path):
    """As in a copy whose links were followed; on a disk without links there is none."""
    (tmp_path / "latest").mkdir()
    for text in ("first", "second"):
        with run_folder(tmp_path) as folder:
            (folder / "a.txt").write_text(text)
    assert (latest(tmp_path) / "a.txt").read_text() == "second"
    assert len(list(tmp_path.iterdir())) == 3 and not list((tmp_path / "latest").iterdir())


def test_a_disk_without_modes_costs_no_results(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with run_folder(tmp_path) as folder:
        (folder / "a.txt").write_text("hours")
    assert (latest(tmp_path) / "a.txt").read_text() == "hours"


def test_a_link_that_cannot_be_renewed_does_not_name_an_earlier_run(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    for text in ("first", "second"):
        with run_folder(tmp_path) as folder:
            (folder / "a.txt").write_text(text)
        monkeypatch.setattr(Path, "symlink_to", full)
    assert (latest(tmp_path) / "a.txt").read_text() == "second"


def test_an_interrupted_run_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), run_folder(tmp_path) as folder:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VprError, match="Results cannot be written"), run_folder(tmp_path / "file"):
        pass
