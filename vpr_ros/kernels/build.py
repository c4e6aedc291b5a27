# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Compile the operator library; `backend.cpp` once for every instruction set.

python -m vpr_ros.kernels.build            next to the sources, unless it is up to date
CXX=clang++ python -m vpr_ros.kernels.build

Uses only the standard library, because setup.py runs it before anything is installed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
LIBRARY = "libvpr_kernels.so"
EXPORTS = "exports.map"
NOTE = "not_built.txt"  # says why there is no library

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-pthread", "-ffp-contract=off", "-Wall", "-Wextra"]
LINK = ("-shared", "-pthread", "-Wl,--no-undefined", f"-Wl,--version-script={SOURCES / EXPORTS}")
AVX2 = "-mavx2 -mfma -mbmi2 -mpopcnt"
AVX512 = f"{AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
# Instruction set -> machine, vectors and flags of its `backend.cpp`. The library asks the CPU
# before it enters one of these; the rest runs anywhere. Sets for other machines, and those
# that the compiler does not know, are left out.
BACKENDS = {
    "scalar": ("", "lanes_scalar.hpp", ""),
    "avx2": ("x86_64", "lanes_avx2.hpp", AVX2),
    "avx2_vnni": ("x86_64", "lanes_avx2.hpp", f"{AVX2} -mavxvnni"),
    "avx512_vnni": ("x86_64", "lanes_avx512.hpp", AVX512),
    "neon_dotprod": ("aarch64", "lanes_neon.hpp", "-march=armv8.2-a+dotprod"),
}


class BuildError(Exception):
    """The library cannot be built; the message says why."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """One object file of the library."""

    name: str
    source: Path
    flags: tuple[str, ...] = ()  # in addition to FLAGS


def find_compiler() -> list[str]:
    """The compiler's command: $CXX, or the first that is installed."""
    given = shlex.split(os.environ.get("CXX", ""))
    for command in [given] if given else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise BuildError(f"no C++ compiler at install time (looked for {given or COMPILERS})")


def units(compiler: list[str], extra: Sequence[Path] = ()) -> list[Unit]:
    """The object files for the compiler's target, in linking order; `extra` sources included.

    Those that run anywhere come first: if several contain the same template, the linker keeps the
    first copy.
    """
    target = _output([*compiler, "-dumpmachine"])
    sources = [*sorted(SOURCES.glob("*.cpp")), *extra]
    plain = [Unit(source.stem, source) for source in sources if source.stem != "backend"]
    return plain + [
        backend(isa, flags.split())
        for isa, (machine, _, flags) in BACKENDS.items()
        if target.startswith(machine) and _knows(compiler, flags.split())
    ]


def backend(isa: str, flags: Sequence[str]) -> Unit:
    """The unit of one of BACKENDS, compiled with these flags."""
    lanes = BACKENDS[isa][1]
    defines = (f"-DVPR_ISA={isa}", f'-DVPR_LANES="{lanes}"')
    return Unit(f"backend_{isa}", SOURCES / "backend.cpp", (*flags, *defines))


def build(folder: Path = SOURCES, extra: Sequence[Path] = ()) -> Path:
    """The library in `folder`, compiled unless it is there from the same sources and compiler.

    Raises BuildError with the compiler's message. An older library stays in place until the new
    one is complete. `extra` sources are for tests.
    """
    compiler = find_compiler()
    digest = _digest(compiler, extra)
    library = folder / LIBRARY
    for made in (library, SOURCES / LIBRARY):
        if made.is_file() and digest.encode() in made.read_bytes():
            return made if made == library else _copy(made, library)
    made_of = units(compiler, extra)
    defines = [f'-DVPR_KERNELS_DIGEST="{digest}"']
    with tempfile.TemporaryDirectory(prefix="vpr_kernels-") as temporary:
        objects = [str(Path(temporary) / f"{unit.name}.o") for unit in made_of]
        include = f"-I{SOURCES}"
        commands = [
            [*compiler, *FLAGS, include, *unit.flags, *defines, "-c", str(unit.source), "-o", name]
            for unit, name in zip(made_of, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_output, commands))
        whole = Path(temporary) / LIBRARY
        _output([*compiler, *objects, *LINK, "-o", str(whole)])
        _copy(whole, library)
    (folder / NOTE).unlink(missing_ok=True)
    return library


def _copy(made: Path, library: Path) -> Path:
    """Replace the library in one step: a process may have the older one open."""
    library.parent.mkdir(parents=True, exist_ok=True)
    part = library.with_name(f".{library.name}.{os.getpid()}")
    shutil.copy2(made, part)
    return part.replace(library)


def build_or_note(folder: Path) -> str:
    """Build into `folder` or, if that is impossible, leave a note there. Returns what happened."""
    try:
        return f"compiled operators: {build(folder)}"
    except BuildError as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LIBRARY).unlink(missing_ok=True)
        (folder / NOTE).write_text(str(error).splitlines()[0] + "\n")
        return f"without compiled operators, stock ones run instead: {error}"


def _digest(compiler: list[str], extra: Sequence[Path]) -> str:
    """Identifies the sources, the flags and the compiler."""
    found = hashlib.sha256(_output([*compiler, "--version"]).encode())
    own = [SOURCES / EXPORTS, Path(__file__).resolve(), *extra]
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
    """Build next to the sources; 0 if the library is there."""
    print(build_or_note(SOURCES))
    return 0 if (SOURCES / LIBRARY).is_file() else 1


if __name__ == "__main__":
    sys.exit(main())
