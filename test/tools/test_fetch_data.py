# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sets are fetched whole and checked, or not at all; from folders, since tests need no network."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tools import fetch_data
from tools.fetch_data import REVISITS, SETS, DataSet, fetch
from vpr_ros.core.errors import VprError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def one_set(monkeypatch):
    def use(url, commit, *more):
        known = DataSet(url, commit, "images", "MIT", "vpr {}", more)
        monkeypatch.setattr(fetch_data, "SETS", {"one": known})

    return use


def interrupted(source, target):
    target.mkdir()
    raise KeyboardInterrupt


def test_one_folder_of_one_commit_and_files_of_ours(tmp_path, one_set, monkeypatch):
    place = tmp_path / "origin"
    for name, text in (("images/1.jpg", "first"), ("else/large.bin", "not wanted")):
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text(text)
    git = "git init -q; git add -A; git -c user.name=a -c user.email=a@b commit -qm a"
    subprocess.run(git, shell=True, cwd=place, check=True)
    head = ["git", "-C", str(place), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True).stdout.strip()
    (place / "images" / "1.jpg").write_text("later")
    subprocess.run("git -c user.name=a -c user.email=a@b commit -qam b", shell=True, cwd=place)
    one_set(place.as_uri(), commit, (REVISITS, "revisits.csv"))
    folder = fetch("one", tmp_path / "data")
    assert (folder / "1.jpg").read_text() == "first"
    assert {p.name for p in folder.iterdir()} == {"1.jpg", "revisits.csv"}
    one_set(place.as_uri(), "0" * 40)
    assert fetch("one", tmp_path / "data") == folder  # it is there
    with pytest.raises(VprError, match="one cannot be fetched: "):
        fetch("one", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []
    one_set(place.as_uri(), commit)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fetch_data.shutil, "copytree", interrupted)
        fetch("one", tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(VprError, match="one cannot be fetched: "):
        fetch("one", tmp_path / "file")


@pytest.mark.parametrize("module", ["generate", "licences", "setup_workspace"])
def test_an_argument_that_a_tool_does_not_know_starts_nothing(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [module, "--chek"])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"tools.{module}").main()
    assert "--chek" in capsys.readouterr().err + str(end.value.code)


def test_the_list_names_every_set_and_its_licence():
    command = [sys.executable, "-m", "tools.fetch_data"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list(SETS)
    assert "(BSD-3-Clause)" in done.stdout
    unknown = subprocess.run([*command, "x", "no"], cwd=ROOT, capture_output=True, text=True)
    assert unknown.returncode == 2 and "no set is named no" in unknown.stderr


def test_the_revisits_are_those_of_the_real_images(shared_data):
    known = shared_data / "rtabmap_samples" / "revisits.csv"
    assert REVISITS.read_text() == known.read_text()
