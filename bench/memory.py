# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Resident memory of a loaded model over that of the runtime alone, in a process of its own.

python -m bench.memory model.onnx --stock
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from vpr_ros.core.encoder import Encoder


def resident_mb() -> float:
    """Of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def model_mb(path: Path, compiled: bool = True) -> float:
    """What the model at `path` adds to a process, loaded and after three images."""
    command = [sys.executable, "-m", "bench.memory", str(path), *([] if compiled else ["--stock"])]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--stock", action="store_true", help="without compiled operators")
    options = parser.parse_args()
    before = resident_mb()
    encoder = Encoder(options.model, compiled=not options.stock)
    image = np.full((480, 640, 3), 128, np.uint8)
    for _ in range(3):
        encoder.encode(image, encoder.contract.sparsity_max)
    print(f"{resident_mb() - before:.1f}")


if __name__ == "__main__":
    main()
