# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Compile the operator library: one unit per instruction set, each with its own flags.

python -m vpr_ros.kernels.build            beside the sources, unless it is up to date
CXX=clang++ python -m vpr_ros.kernels.build

Standard library only: setup.py runs it before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
LIBRARY = "libvpr_kernels.so"
EXPORTS = "exports.map"
NOTE = "not_built.txt"  # why there is no library, for whoever loads one

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-pthread", "-ffp-contract=off", "-Wall", "-Wextra"]
LINK = ("-shared", "-pthread", "-Wl,--no-undefined", f"-Wl,--version-script={SOURCES / EXPORTS}")
AVX2 = "-mavx2 -mfma -mbmi2 -mpopcnt"
AVX512 = f"{AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
# Unit -> the machine it is for, and the instructions it may use. Everything else runs anywhere:
# the library asks the processor before it enters one of these. On another machine, and where
# the compiler does not know the instructions, such a unit is empty.
UNITS = {
    "backend_avx2": ("x86_64", AVX2),
    "backend_avxvnni": ("x86_64", f"{AVX2} -mavxvnni"),
    "backend_avx512": ("x86_64", AVX512),
    "backend_avx512vbmi": ("x86_64", f"{AVX512} -mavx512vbmi -mavx512vbmi2"),
    "backend_neon": ("aarch64", "-march=armv8.2-a+dotprod"),
}


class BuildError(Exception):
    """No library, and why."""


def find_compiler() -> list[str]:
    """The compiler's command: $CXX, or the first that is installed."""
    given = shlex.split(os.environ.get("CXX", ""))
    for command in [given] if given else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise BuildError(f"no C++ compiler at install time (looked for {given or COMPILERS})")


def units(compiler: list[str]) -> dict[Path, list[str]]:
    """The units in linking order, with their own flags for the compiler's target.

    Those that run anywhere come first: of a template that several units hold, the linker keeps
    the first copy.
    """
    target = _output([*compiler, "-dumpmachine"])
    plain, special = {}, {}
    for source in sorted(SOURCES.glob("*.cpp")):
        machine, text = UNITS.get(source.stem, ("", ""))
        flags = text.split() if target.startswith(machine) else []
        if flags and _knows(compiler, flags):
            special[source] = flags
        else:
            plain[source] = []
    return {**plain, **special}


def build(folder: Path = SOURCES) -> Path:
    """The library in `folder`, compiled unless one of these sources and compiler is there.

    Raises BuildError with the compiler's words. An older library stays until a new one is whole.
    """
    compiler = find_compiler()
    digest = _digest(compiler)
    library = folder / LIBRARY
    for made in (library, SOURCES / LIBRARY):
        if made.is_file() and digest.encode() in made.read_bytes():
            return made if made == library else _copy(made, library)
    sources = units(compiler)
    defines = [f'-DVPR_KERNELS_DIGEST="{digest}"']
    with tempfile.TemporaryDirectory(prefix="vpr_kernels-") as temporary:
        objects = [str(Path(temporary) / f"{source.stem}.o") for source in sources]
        commands = [
            [*compiler, *FLAGS, *flags, *defines, "-c", str(source), "-o", name]
            for (source, flags), name in zip(sources.items(), objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_output, commands))
        whole = Path(temporary) / LIBRARY
        _output([*compiler, *objects, *LINK, "-o", str(whole)])
        _copy(whole, library)
    (folder / NOTE).unlink(missing_ok=True)
    return library


def _copy(made: Path, library: Path) -> Path:
    """Whole or not at all: a process may have the older one open."""
    library.parent.mkdir(parents=True, exist_ok=True)
    part = library.with_name(f".{library.name}.{os.getpid()}")
    shutil.copy2(made, part)
    return part.replace(library)


def build_or_note(folder: Path) -> str:
    """Build into `folder` if that is possible, leave a note there if not; what happened."""
    try:
        return f"compiled operators: {build(folder)}"
    except BuildError as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LIBRARY).unlink(missing_ok=True)
        (folder / NOTE).write_text(str(error).splitlines()[0] + "\n")
        return f"without compiled operators, stock ones run instead: {error}"


def _digest(compiler: list[str]) -> str:
    """A name for these sources, these flags and this compiler."""
    found = hashlib.sha256(_output([*compiler, "--version"]).encode())
    own = [SOURCES / EXPORTS, Path(__file__).resolve()]
    for source in sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.hpp"), *own]):
        found.update(source.name.encode() + b"\0" + source.read_bytes())
    return found.hexdigest()


def _knows(compiler: list[str], flags: list[str]) -> bool:
    try:
        _output([*compiler, *flags, "-x", "c++", "-fsyntax-only", os.devnull])
    except BuildError:
        return False
    return True


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{command[0]} does not run: {error}") from None
    if done.returncode:
        raise BuildError(f"the compiler failed: {shlex.join(command)}\n{done.stderr[:4000]}")
    return done.stdout


def main() -> int:
    """Build, beside the sources or where told; 0 if the library is there."""
    parser = argparse.ArgumentParser(
        prog="python -m vpr_ros.kernels.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=SOURCES)
    folder = parser.parse_args().folder
    print(build_or_note(folder))
    return 0 if (folder / LIBRARY).is_file() else 1


if __name__ == "__main__":
    sys.exit(main())
