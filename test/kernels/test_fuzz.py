# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random and broken cases on every instruction set, with sanitizers and, in an emulator, on ARM.

The long form is `python -m bench.faults kernels`.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from bench.kernel_faults import ARM, SANITIZERS, fuzz, fuzz_driver, native_backends, survived

CASES = 12  # whose checksum is compared
EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("sanitized")
    return fuzz_driver(folder, "g++", f"-O1 {SANITIZERS}", native_backends())


@pytest.mark.slow
def test_clean_and_equal_under_sanitizers(sanitized):
    """Reads and writes stay inside arrays of exactly the right size, with and without memory."""
    found = fuzz(sanitized, "1000", "100000", "5")
    assert found["cases"] > CASES
    assert found["starved"] > CASES
    assert found["isas"][0] == "scalar"


@pytest.mark.slow
def test_arm_code_gives_the_same_numbers(sanitized, tmp_path):
    compiler = "aarch64-linux-gnu-g++"
    emulator = next(filter(shutil.which, EMULATORS), None)
    if emulator is None or shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} or none of {EMULATORS}")
    program = fuzz_driver(tmp_path, compiler, "-O2 -static", ARM)
    on_arm = fuzz(emulator, program, "1", str(CASES), "100")
    here = fuzz(sanitized, "1", str(CASES), "100")
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


def test_a_process_survives_allocations_that_fail(kernels):
    """With two threads; every operator, when it is made and when it runs."""
    done, faults = survived("starved", kernels.test_path, range(45))
    assert done == 45, faults


def test_a_process_survives_malformed_graphs(kernels):
    done, faults = survived("graph", kernels.path, range(90))
    assert done == 90, faults
