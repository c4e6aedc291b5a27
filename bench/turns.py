# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fair times in one noisy process: what is compared takes turns."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort

Run = Callable[[], object]


def medians(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median time of each of `runs` in ms; they take turns, every other round in reverse.

    So a busy spell of the machine hits all of them. One more round warms up.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - started)
    return {name: 1e3 * float(np.median(found[1:])) for name, found in times.items()}


def session(model: onnx.ModelProto, threads: int) -> ort.InferenceSession:
    """`model` set up as the robot's encoder sets it up."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
