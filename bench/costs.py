# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the core costs: the database at its bound, the encoder around onnxruntime."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime as ort

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.images import preprocess
from vpr_ros.core.keyframe import NS_PER_S, Keyframe
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model

KEYFRAMES = 10_000
SIZE = 1280
ROUNDS = 100

Row = tuple[str, str, str]  # p50, p95, unit


def database_costs() -> dict[str, Row]:
    """Search plus update of a nearly full database, per storage precision, one after the other.

    Not in turns: each would push the other out of the cache, which no robot does.
    """
    random = np.random.default_rng(0)
    rows = random.standard_normal((KEYFRAMES, SIZE), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    times, sizes = {}, {}
    for precision in ("float16", "float32"):
        database = Database(DatabaseConfig(max_keyframes=KEYFRAMES, precision=precision))
        seconds = []
        for i, row in enumerate(rows):
            started = time.perf_counter()
            if i >= KEYFRAMES - ROUNDS:
                database.search_older(row, i * NS_PER_S, 20)
            database.add(Keyframe(i, i * NS_PER_S, "bench", 0.0, row))
            seconds.append(time.perf_counter() - started)
        label = f"database search + update, 10,000 x 1280-D, {precision}"
        times[label] = _milliseconds(seconds[-ROUNDS:])
        label = f"memory of a keyframe without features, {precision}"
        sizes[label] = (f"{database.bytes_per_keyframe:.0f}", "", "bytes")
    return times | sizes


def encoder_costs() -> dict[str, Row]:
    """`Encoder.run` over a bare onnxruntime session with the same options, taking turns."""
    encoder = Encoder(find_model(DEFAULT_MODEL), threads=1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    bare = ort.InferenceSession(str(encoder.path), options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    pixels = preprocess(image, encoder.contract)
    dense = np.array(0.0, np.float32)
    ours, theirs = _in_turns(
        lambda: encoder.run(pixels),
        lambda: bare.run(None, {"image": pixels, "sparsity": dense}),
    )
    ratio = np.median(np.array(ours) / np.array(theirs))
    return {
        f"{encoder.contract.name}, network, 1 thread": _milliseconds(ours),
        "  over bare onnxruntime": (f"{ratio:.3f}", "", "ratio"),
    }


def _in_turns(first: Callable[[], object], second: Callable[[], object]) -> list[list[float]]:
    """Times of two calls [s], alternated with the order reversed every round."""
    calls = [first, second]
    times: list[list[float]] = [[], []]
    for turn in range(-5, ROUNDS):
        for i in (0, 1) if turn % 2 else (1, 0):
            started = time.perf_counter()
            calls[i]()
            if turn >= 0:  # the first turns warm up
                times[i].append(time.perf_counter() - started)
    return times


def _milliseconds(seconds: list[float]) -> Row:
    p50, p95 = np.percentile(seconds, (50, 95)) * 1e3
    return f"{p50:.2f}", f"{p95:.2f}", "ms"
