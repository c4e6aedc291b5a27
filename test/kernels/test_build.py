# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The library is built where a compiler is, once; where none is, the package installs without."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vpr_ros.kernels import build

ROOT = Path(__file__).resolve().parents[2]


def setup(folder, **environment):
    """`setup.py install` as colcon calls it; where the package then is, and what was printed."""
    command = [sys.executable, "setup.py", "-q"]
    command += ["egg_info", "--egg-base", folder, "build", "--build-base", folder / "build"]
    command += ["install", "--single-version-externally-managed"]
    command += ["--root", folder / "root", "--record", folder / "record"]
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (package,) = (folder / "root").rglob("vpr_ros/kernels")
    return package, done.stdout


def test_a_second_build_takes_the_first(kernels, tmp_path):
    before = kernels.path.stat().st_mtime_ns
    assert build.build() == kernels.path
    assert kernels.path.stat().st_mtime_ns == before
    copied = build.build(tmp_path)
    assert copied.read_bytes() == kernels.path.read_bytes()
    assert [f.name for f in tmp_path.iterdir()] == [build.LIBRARY]


def test_another_library_is_replaced(kernels, tmp_path):
    (tmp_path / build.LIBRARY).write_bytes(b"of other sources")
    (tmp_path / build.NOTE).write_text("why there was none")
    assert build.build(tmp_path).read_bytes() == kernels.path.read_bytes()


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("no-such-compiler", "no C++ compiler at install time"), ("false", "the compiler failed")],
)
def test_no_compiler_leaves_a_note(compiler, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler)
    assert reason in build.build_or_note(tmp_path)
    assert (tmp_path / build.NOTE).read_text().startswith(reason)
    assert not (tmp_path / build.LIBRARY).exists()


def test_the_package_installs_without_a_compiler(tmp_path):
    package, printed = setup(tmp_path, CXX="no-such-compiler")
    assert "without compiled operators" in printed
    assert "no C++ compiler" in (package / build.NOTE).read_text()
    assert not (package / build.LIBRARY).exists()
    assert (package / "kernels.hpp").is_file()  # so that it can be built later


def test_the_package_installs_with_the_library(kernels, tmp_path):
    package, _ = setup(tmp_path)
    encoder = next((tmp_path / "root").rglob("lib/vpr_ros/encoder"))  # where `ros2 run` looks
    assert encoder.read_text().startswith("#!/usr/bin/env python3\n")
    assert (package / build.LIBRARY).read_bytes() == kernels.path.read_bytes()
    assert not (package / build.NOTE).exists()


def test_pip_brings_the_command_vpr_and_no_node(tmp_path):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (found,) = tmp_path.rglob("entry_points.txt")
    assert found.read_text().split("\n")[:2] == ["[console_scripts]", "vpr = vpr_ros.cli:main"]
    assert len(found.read_text().split("\n")) == 3
    requires = (found.parent / "requires.txt").read_text()
    assert "torch" not in requires.partition("[")[0]


@pytest.mark.slow
def test_arm_gets_its_own_units(tmp_path, monkeypatch):
    compiler = "aarch64-linux-gnu-g++"
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    monkeypatch.setenv("CXX", compiler)
    names = {unit.name for unit in build.units([compiler])}
    assert "backend_neon_dotprod" in names and "backend_avx2" not in names
    assert build.build(tmp_path).stat().st_size > 0
