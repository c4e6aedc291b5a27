# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random cases on every instruction set, with sanitizers and, in an emulator, as ARM code."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vpr_ros.kernels import build

HERE = Path(__file__).resolve().parent
LIBRARY = ("attention", "int8_linear", "isa", "nested_linear", "weights")
AVX512 = "-mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
# AVX-VNNI's unit is compiled in the encoding of AVX-512, so that it runs where only that is.
X86 = {"scalar": "", "avx2": "-mavx2 -mfma", "avx2_vnni": AVX512, "avx512_vnni": AVX512}
ARM = {"scalar": "", "neon_dotprod": "-march=armv8.2-a+dotprod"}
COMMON = "-std=c++17 -ffp-contract=off -pthread -Wall -Wextra -DVPR_ROS_AVX_VNNI_BY_AVX512"
CASES = 12  # whose checksum is compared


def executable(folder, compiler, flags, backends):
    """The fuzz driver with the library's sources."""
    sources = [build.SOURCES / f"{name}.cpp" for name in LIBRARY] + [HERE / "fuzz.cpp"]
    units = [build.Unit(source.stem, source) for source in sources]
    units += [build.backend(isa, own.split()) for isa, own in backends.items()]

    def compile_unit(unit):
        made = folder / f"{unit.name}.o"
        command = f"{compiler} {COMMON} {flags} -I{build.SOURCES} -c {unit.source} -o {made}"
        subprocess.run([*command.split(), *unit.flags], check=True)
        return str(made)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_unit, units))
    program = folder / "fuzz"
    link = [compiler, *flags.split(), "-pthread", *objects, "-o", str(program)]
    subprocess.run(link, check=True)
    return str(program)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    words = done.stdout.split()
    return {"checksum": words[3], "isas": words[5:], "cases": int(words[1])}


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    machine = subprocess.run(["g++", "-dumpmachine"], capture_output=True, text=True).stdout
    flags = "-O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    folder = tmp_path_factory.mktemp("sanitized")
    return executable(folder, "g++", flags, X86 if machine.startswith("x86_64") else ARM)


@pytest.mark.slow
def test_clean_and_equal_under_sanitizers(sanitized):
    """Reads and writes stay inside arrays of exactly the right size."""
    found = run(sanitized, "1000", "100000", "5")
    assert found["cases"] > CASES
    assert found["isas"][0] == "scalar"


@pytest.mark.slow
def test_arm_code_gives_the_same_numbers(sanitized, tmp_path):
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    for program in (compiler, emulator):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}")
    program = executable(tmp_path, compiler, "-O2 -static", ARM)
    on_arm = run(emulator, program, "1", str(CASES), "100")
    here = run(sanitized, "1", str(CASES), "100")
    assert on_arm["isas"] == ["scalar", "neon_dotprod"]
    assert on_arm["cases"] == here["cases"] == CASES
    assert on_arm["checksum"] == here["checksum"]


@pytest.mark.slow
def test_units_of_an_instruction_set_share_no_code(sanitized):
    """A weak symbol of such a unit could be linked into code for processors without its set."""
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    for unit in Path(sanitized).parent.glob("backend_*.o"):
        listed = subprocess.run(["nm", "-C", unit], capture_output=True, text=True, check=True)
        weak = [line for line in listed.stdout.splitlines() if line[17:18] == "W"]
        assert not weak, f"{unit.name}: {weak}"
