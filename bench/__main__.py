# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: what the nodes cost beyond the work itself."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from bench.measure import measure
from bench.nodes import Cells, drive
from vpr_ros.core.calibration import Calibration
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.images import preprocess
from vpr_ros.core.keyframe import NS_PER_S, Keyframe, LocalFeatures
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model
from vpr_ros.core.operators import THREADS_SETTING, find_operators
from vpr_ros.core.pose import Pose

GOALS = (
    "goals: overhead p50 < 5 ms, database < 2 ms, decision < 10 ms, encoder <= 1.05, CPU <= 1.20"
)
KEYFRAMES, SIZE = 10_000, 1280
ROUNDS = 100


def database_costs() -> dict[str, Cells]:
    """Search plus update of a nearly full database, one storage precision after the other.

    Not alternately: each would push the other out of the cache, which no robot does.
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
        times[label] = _milliseconds(1e3 * np.array(seconds[-ROUNDS:]))
        label = f"memory of a keyframe without features, {precision}"
        sizes[label] = (f"{database.bytes_per_keyframe:.0f}", "", "bytes")
    return times | sizes


def save_costs() -> dict[str, Cells]:
    """A keyframe's search and update before and during a save of 10,000 with local features."""
    random = np.random.default_rng(0)
    database = Database(DatabaseConfig(max_keyframes=2 * KEYFRAMES))

    def take(number: int) -> float:
        row = random.standard_normal(SIZE, dtype=np.float32)
        features = LocalFeatures(np.ones((300, 2), np.float32), np.zeros((300, 128), np.uint8))
        stamp_ns, started = number * NS_PER_S, time.perf_counter()
        row /= np.linalg.norm(row)
        if number >= KEYFRAMES:
            database.search_older(row, stamp_ns, 20)
        database.add(Keyframe(number, stamp_ns, "bench", 0.0, row, features=features))
        return 1e3 * (time.perf_counter() - started)

    times_ms = [take(number) for number in range(KEYFRAMES + ROUNDS)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        snapshot = database.snapshot(Path(folder) / "bench.vprmap")
        copied_ms = 1e3 * (time.perf_counter() - started)
        with ThreadPoolExecutor(1) as pool:
            save = pool.submit(snapshot.write)
            while not save.done():
                times_ms.append(take(len(times_ms)))
                time.sleep(0.01)
        saved_s, megabytes = time.perf_counter() - started, save.result()[2] / 1e6
    before, during = np.split(np.array(times_ms[KEYFRAMES:]), [ROUNDS])
    return {
        "a keyframe with local features": _milliseconds(before),
        f"  while {megabytes:.0f} MB are saved": _milliseconds(during),
        "  the longest of them": (f"{during.max():.1f}", "", "ms"),
        "  copy for the save, meanwhile keyframes wait": (f"{copied_ms:.1f}", "", "ms"),
        "  the save": (f"{saved_s:.1f}", "", "s"),
    }


def decision_costs() -> dict[str, Cells]:
    """Search, evidence and geometry for a keyframe, with odometry, on the second of two laps.

    The views of ten scenes come again and again, so that all candidates are compared in full.
    """
    random = np.random.default_rng(0)
    scenes = [_scene(random) for _ in range(10)]
    rows = random.standard_normal((KEYFRAMES, SIZE), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    database = Database(DatabaseConfig(max_keyframes=2 * KEYFRAMES, max_mb=16_000))
    detector = LoopDetector(LoopConfig(), database)

    def keyframe(number: int, lap: int) -> Keyframe:
        angle = 2 * np.pi * number / KEYFRAMES
        x_m, y_m = 800 * np.cos(angle), 800 * np.sin(angle)  # half a metre a keyframe
        return Keyframe(
            lap * KEYFRAMES + number,
            (lap * KEYFRAMES + number) * NS_PER_S,
            "bench",
            0.0,
            rows[number],
            pose=Pose.planar(float(x_m), float(y_m), float(angle + np.pi / 2)),
            pose_frame="odom",
            features=scenes[number % 10][lap],
            calibration=Calibration(0.0, 0.0),
        )

    for number in range(KEYFRAMES):
        database.add(keyframe(number, 0))
    seconds, compared = [], []
    for number in range(ROUNDS):
        again = keyframe(number, 1)
        started = time.perf_counter()
        query = detector.process(again)
        seconds.append(time.perf_counter() - started)
        compared.append(query.closure is not None)
    label = f"search, evidence, geometry, 10,000 keyframes ({np.mean(compared):.0%} closed)"
    return {label: _milliseconds(1e3 * np.array(seconds))}


def _scene(random: np.random.Generator) -> tuple[LocalFeatures, LocalFeatures]:
    """Two views of 300 points, of which half can be recognised."""
    points = random.uniform((-3, -2, 4), (3, 2, 10), (300, 3))
    codes = random.integers(0, 256, (300, 128), np.uint8)
    other = codes.copy()
    other[150:] = random.integers(0, 256, (150, 128), np.uint8)
    views = (
        (120 * moved[:, :2] / moved[:, 2:] + 120, descriptors)
        for moved, descriptors in ((points, codes), (points + np.array([0.4, 0.0, 0.2]), other))
    )
    first, second = (LocalFeatures(xy.astype(np.float32), d, 2.0) for xy, d in views)
    return first, second


def encoder_costs() -> dict[str, Cells]:
    """`Encoder.run` against a bare onnxruntime session with the same options and operators."""
    encoder = Encoder(find_model(DEFAULT_MODEL), threads=1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(THREADS_SETTING, "1")
    if library := find_operators(encoder.path).library:
        options.register_custom_ops_library(str(library))
    bare = ort.InferenceSession(str(encoder.path), options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    pixels = preprocess(image, encoder.contract)
    feed = {"image": pixels, "sparsity": np.array(0.0, np.float32)}
    found = measure(
        {"ours": lambda: encoder.run(pixels), "bare": lambda: bare.run(None, feed)}, ROUNDS
    )
    ratio = np.median(found["ours"].times_ms / found["bare"].times_ms)
    return {
        f"{encoder.contract.name}, network, 1 thread": _milliseconds(found["ours"].times_ms),
        "  over bare onnxruntime": (f"{ratio:.3f}", "", "ratio"),
    }


def _milliseconds(times_ms: np.ndarray) -> Cells:
    p50, p95 = np.percentile(times_ms, (50, 95))
    return f"{p50:.2f}", f"{p95:.2f}", "ms"


def main() -> None:
    """Measure everything and print one table."""
    console = Console()
    table = Table(title="vpr_ros on this machine", caption=GOALS)
    for heading in ("what", "p50", "p95", "unit"):
        table.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    with console.status("database of 10,000 keyframes, 1280-D"):
        for name, row in (database_costs() | save_costs()).items():
            table.add_row(name, *row)
    with console.status("decision at 10,000 keyframes"):
        for name, row in decision_costs().items():
            table.add_row(name, *row)
    with console.status("encoder against bare onnxruntime"):
        for name, row in encoder_costs().items():
            table.add_row(name, *row)
    for features in (300, 0):
        words = "with" if features else "without"
        with console.status(f"two nodes over DDS at 5 Hz, {words} geometric verification"):
            for name, row in drive(features).items():
                table.add_row(f"{name}, {words} verification", *row)
    console.print(table)


if __name__ == "__main__":
    main()
