# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joules per run, where the machine has a counter or a power meter that can be read."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

LEAST_S = 1.0  # counters and meters are coarse: a run is repeated for so long
SAMPLE_S = 0.02

Joules = Callable[[Callable[[], object]], float]  # of one call of its argument


def find_meter(sys: Path = Path("/sys")) -> tuple[Joules | None, str]:
    """What measures joules here, and its name; None where nothing can be read.

    RAPL counts the package (x86), INA3221 meters the board (Jetson), the power manager's
    converter meters the board of a Raspberry Pi 5.
    """
    counters = [
        path
        for path in sorted((sys / "class/powercap").glob("*/energy_uj"))
        if path.parent.name.count(":") == 1 and _readable(path)  # packages, not their parts
    ]
    if counters:
        return lambda run: _counted(counters, run), "RAPL package counter"
    rails = [
        folder
        for folder in sorted((sys / "class/hwmon").glob("*"))
        if (folder / "name").is_file() and (folder / "name").read_text().strip() == "ina3221"
    ]
    if rails:
        return lambda run: _metered(lambda: _ina3221_w(rails[0]), run), "INA3221, first rail"
    if shutil.which("vcgencmd"):
        return lambda run: _metered(_pmic_w, run), "vcgencmd pmic_read_adc"
    return None, "unavailable"


def _readable(path: Path) -> bool:
    try:
        path.read_text()
    except OSError:
        return False
    return True


def _repeat(run: Callable[[], object]) -> tuple[int, float]:
    """How often it ran in at least LEAST_S, and for how long."""
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < LEAST_S:
        run()
        count += 1
    return count, time.perf_counter() - started


def _counted(counters: list[Path], run: Callable[[], object]) -> float:
    before = [int(path.read_text()) for path in counters]
    count, _ = _repeat(run)
    total = 0
    for path, start in zip(counters, before, strict=True):
        used = int(path.read_text()) - start
        wraps = used < 0
        total += used + (int((path.parent / "max_energy_range_uj").read_text()) if wraps else 0)
    return 1e-6 * total / count


def _metered(watts: Callable[[], float], run: Callable[[], object]) -> float:
    samples, done = [watts()], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            samples.append(watts())

    watcher = threading.Thread(target=watch)
    watcher.start()
    count, seconds = _repeat(run)
    done.set()
    watcher.join()
    return sum(samples) / len(samples) * seconds / count


def _ina3221_w(folder: Path) -> float:
    millivolts = int((folder / "in1_input").read_text())
    milliamperes = int((folder / "curr1_input").read_text())
    return 1e-6 * millivolts * milliamperes


def _pmic_w() -> float:
    """Sum over the converters that report both volts and amperes."""
    text = subprocess.run(["vcgencmd", "pmic_read_adc"], capture_output=True, text=True).stdout
    amperes = dict(re.findall(r"(\w+)_A current\(\d+\)=([\d.]+)A", text))
    volts = dict(re.findall(r"(\w+)_V volt\(\d+\)=([\d.]+)V", text))
    return sum(float(amperes[name]) * float(volts[name]) for name in amperes.keys() & volts)
