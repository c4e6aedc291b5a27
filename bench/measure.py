# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fair times on a busy machine: what is compared runs alternately, in one process."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from demo.processes import end_with_parent
from vpr_ros.core.encoder import Encoder

Call = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the runs of one candidate took."""

    times_ms: np.ndarray  # (rounds,)
    cpu_ms: float  # median, of all threads together

    @property
    def time_ms(self) -> float:
        """The median."""
        return float(np.median(self.times_ms))


def measure(runs: dict[str, Call], rounds: int) -> dict[str, Cost]:
    """What each of `runs` takes; they run alternately, every other round in reverse order.

    A busy spell of the machine so hits all of them. One more round warms up.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            started, used = time.perf_counter(), time.process_time()
            runs[name]()
            found[name].append((time.perf_counter() - started, time.process_time() - used))
    spent = {name: 1e3 * np.array(pairs[1:]).T for name, pairs in found.items()}
    return {name: Cost(wall, float(np.median(cpu))) for name, (wall, cpu) in spent.items()}


def resident_mb(model: Path, compiled: bool = True) -> float:
    """What a model adds to the memory of a fresh process, loaded and after three images."""
    with fresh_process() as process:
        return process.submit(_resident_mb, model, compiled).result()


def fresh_process() -> ProcessPoolExecutor:
    """Runs calls in a process of its own, which ends with this one, also if that is killed."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, initializer=exec, initargs=(end_with_parent(),))


def _resident_mb(model: Path, compiled: bool) -> float:
    before = memory_mb(os.getpid())
    encoder = Encoder(model, compiled=compiled)
    image = np.full((480, 640, 3), 128, np.uint8)
    for _ in range(3):
        encoder.encode(image, encoder.contract.sparsity_max)
    return memory_mb(os.getpid()) - before


def memory_mb(pid: int) -> float:
    """Resident memory of a process [MB]."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6
