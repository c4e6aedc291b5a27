# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random cases on every instruction set: with sanitizers, and as ARM code in an emulator."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "vpr_ros" / "kernels"
LIBRARY = (
    "attention", "int8_linear", "isa", "nested_linear", "strips", "ternary_linear", "tile_codes",
    "weights", "backend_scalar", "backend_avx2", "backend_avxvnni", "backend_avx512",
    "backend_avx512vbmi", "backend_neon",
)  # fmt: skip
AVX512 = "-mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
# AVX-VNNI's unit is compiled in the encoding of AVX-512, so that it runs where only that is.
X86 = {
    "backend_avx2": "-mavx2 -mfma",
    "backend_avxvnni": AVX512,
    "backend_avx512": AVX512,
    "backend_avx512vbmi": f"{AVX512} -mavx512vbmi -mavx512vbmi2",
}
ARM = {"backend_neon": "-march=armv8.2-a+dotprod"}
COMMON = "-std=c++17 -ffp-contract=off -pthread -Wall -Wextra -DVPR_ROS_AVX_VNNI_BY_AVX512"
CASES = 12  # of which the checksum is compared


def executable(folder, compiler, flags, flags_of):
    """The fuzz driver with the library's sources."""

    def compile_unit(source):
        unit = folder / f"{source.stem}.o"
        own = flags_of.get(source.stem, "")
        command = f"{compiler} {COMMON} {flags} {own} -I{SOURCES} -c {source} -o {unit}"
        subprocess.run(command.split(), check=True)
        return str(unit)

    sources = [SOURCES / f"{name}.cpp" for name in LIBRARY] + [ROOT / "test/kernels/fuzz.cpp"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        units = list(pool.map(compile_unit, sources))
    program = folder / "fuzz"
    link = [compiler, *flags.split(), "-pthread", *units, "-o", str(program)]
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
    """A weak symbol of such a unit could be linked into code that runs where it must not."""
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    for unit in Path(sanitized).parent.glob("backend_*.o"):
        listed = subprocess.run(["nm", "-C", unit], capture_output=True, text=True, check=True)
        weak = [line for line in listed.stdout.splitlines() if line[17:18] == "W"]
        assert not weak, f"{unit.name}: {weak}"
