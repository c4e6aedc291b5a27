# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which instruction set the library chooses, in separate processes because it chooses once."""

import os
import subprocess
import sys

ASK = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.vpr_test_detect.restype = ctypes.c_char_p
found = ctypes.c_char_p()
message = library.vpr_test_detect(ctypes.byref(found))
print((message or found.value).decode())
"""


def detected(kernels, wanted):
    environment = {**os.environ, "VPR_ROS_KERNELS_ISA": wanted}
    command = [sys.executable, "-c", ASK, str(kernels.test_path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


def test_scalar_is_always_there(kernels):
    assert kernels.isas[0] == "scalar"
    assert len(set(kernels.isas)) == len(kernels.isas)


def test_the_fastest_is_chosen(kernels):
    assert detected(kernels, "") == kernels.isas[-1]


def test_the_environment_decides(kernels):
    for isa in kernels.isas:
        assert detected(kernels, isa) == isa


def test_an_unknown_name_is_refused(kernels):
    message = detected(kernels, "mmx")
    assert message.startswith("VPR_ROS_KERNELS_ISA is 'mmx'; this machine has scalar")
