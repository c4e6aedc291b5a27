# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fair times in one noisy process: what is compared takes turns."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort

from vpr_ros.core.operators import LIBRARY, THREADS_SETTING

Run = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Spent:
    """What one run takes, median of many."""

    time_ms: float
    cpu_ms: float  # of all threads together


def spent(runs: dict[str, Run], rounds: int) -> dict[str, Spent]:
    """What each of `runs` takes; they take turns, every other round in reverse.

    So a busy spell of the machine hits all of them. One more round warms up.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            started, used = time.perf_counter(), time.process_time()
            runs[name]()
            found[name].append((time.perf_counter() - started, time.process_time() - used))
    medians = {name: 1e3 * np.median(turns[1:], axis=0) for name, turns in found.items()}
    return {name: Spent(float(wall), float(cpu)) for name, (wall, cpu) in medians.items()}


def medians(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median time of each of `runs` in ms, see `spent`."""
    return {name: one.time_ms for name, one in spent(runs, rounds).items()}


def session(model: onnx.ModelProto, threads: int, compiled: bool = False) -> ort.InferenceSession:
    """`model` set up as the robot's encoder sets it up, on stock or on the compiled operators."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if compiled:
        options.add_session_config_entry(THREADS_SETTING, str(threads))
        options.register_custom_ops_library(str(LIBRARY))
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
