# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Can a drive of 100,000 keyframes be evaluated? Time and memory of all that follows encoding.

python -m bench.scale
python -m bench.scale --keyframes 20000

A made drive: laps of one circuit, every place a random vector, every visit of it another noise.
Only the images are left out; detector, bounded database, judgement and recall are those of
`vpr evaluate BAG`.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vpr_ros.core.database import DatabaseConfig
from vpr_ros.core.keyframe import NS_PER_S, Keyframe
from vpr_ros.core.loop_detector import LoopConfig
from vpr_ros.evaluation.judge import judge
from vpr_ros.evaluation.metrics import percent
from vpr_ros.evaluation.neighbours import COLUMNS, ROWS, TILE_BYTES, find_neighbours
from vpr_ros.evaluation.replay import Memory, Seen, first_recent
from vpr_ros.evaluation.trajectory import Trajectory
from vpr_ros.evaluation.truth import LoopRule, PoseTruth

SIZE = 1280  # values, as of MobileNetV2
PLACES = 5000  # of the circuit, 1 m apart
NOISE = 1.0  # length of a visit's own vector over the place's: cosine 0.5 between two visits


def drive(count: int) -> Iterator[Seen]:
    """`count` keyframes, one a second."""
    random = np.random.default_rng(0)
    places = _units(random.standard_normal((PLACES, SIZE)))
    for number in range(count):
        visit = places[number % PLACES] + NOISE * _units(random.standard_normal((1, SIZE)))[0]
        stamp_ns = (1 + number) * NS_PER_S
        keyframe = Keyframe(number, stamp_ns, "made", 0.0, _units(visit[np.newaxis])[0])
        yield Seen(number, stamp_ns, keyframe, encode_ms=0.0)


def truth_of(count: int) -> PoseTruth:
    """Poses on the circuit, heading along it."""
    angle = 2 * np.pi * (np.arange(count) % PLACES) / PLACES
    radius_m = PLACES / (2 * np.pi)
    positions = np.stack([radius_m * np.cos(angle), radius_m * np.sin(angle), 0 * angle], 1)
    half = (angle + np.pi / 2) / 2
    rotations = np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], 1)
    return PoseTruth(Trajectory(np.arange(count), positions, rotations), LoopRule())


def main() -> None:
    """Drive, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keyframes", type=int, default=100_000)
    count = parser.parse_args().keyframes
    config = DatabaseConfig()
    print(f"{count} keyframes, {SIZE}-D, {config.precision}; circuit of {PLACES} places")
    before_mb = _peak_mb()

    started = time.perf_counter()
    memory = Memory(LoopConfig(score_threshold=0.3, margin_threshold=0.0), config)
    for seen in drive(count):
        memory.ask(seen)
    _print("detector, database of", f"{config.max_keyframes} keyframes", started)

    truth, limits = truth_of(count), first_recent(memory.answers, config)
    descriptors = memory.descriptors
    print(f"  descriptors of all keyframes: {descriptors.nbytes / 1e6:.0f} MB")
    started = time.perf_counter()
    neighbours = find_neighbours(descriptors, limits, truth)
    _print("recall,", f"tiles of {ROWS} x {COLUMNS}, at most {TILE_BYTES / 1e6:.0f} MB", started)
    started = time.perf_counter()
    judged = judge(memory.answers, truth, neighbours)
    _print("judgement,", f"{judged.revisits} revisits", started)
    print(
        f"R@1 {percent(neighbours.recall_at(1))}, R@10 {percent(neighbours.recall_at(10))};",
        end="",
    )
    print(f" closures: precision {percent(judged.precision)}, recall {percent(judged.recall)}")
    print(
        f"Peak memory {_peak_mb():.0f} MB, of which {before_mb:.0f} MB before the first keyframe"
    )


def _units(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # Linux counts in KiB


def _print(what: str, how: str, started: float) -> None:
    print(f"{what} {how}: {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
