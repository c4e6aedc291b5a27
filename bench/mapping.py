# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the closures of the demo's drive are good for, with odometry that drifts.

python -m bench.mapping results/demo/drive

The pose graph, with and without wrong closures; time of an update; and waking up in the map of the
first lap at many places of the second, with odometry from zero.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from demo.drive import BIAS_DEG, ate_m, drifting
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.keyframe import Keyframe
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopClosure, LoopDetector
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model
from vpr_ros.core.pose import Pose
from vpr_ros.evaluation.bag import Bag, choose_topics
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.replay import EncoderReplay
from vpr_ros.mapping.graph_correction import correct
from vpr_ros.mapping.pose_graph import Correction, PoseGraph
from vpr_ros.mapping.relocalization import (
    CameraConfig,
    RelocalizationConfig,
    Relocalizer,
    State,
    camera_turn,
)

WRONG = 8  # closures that are injected
SEEN_M, SEEN_DEG = 2.0, 45.0  # from a keyframe of the map, which the robot sees so far away
SOON = 5  # keyframes within which the robot is to be located
AGREEING = RelocalizationConfig().min_agreeing


@dataclasses.dataclass(frozen=True)
class Drive:
    """A drive after the graph has corrected it."""

    odometry_m: float  # RMSE of positions after the best rigid alignment (ATE)
    corrected_m: float
    closures: int
    accepted_wrong: int  # of WRONG
    updates_ms: list[float]


def turn_of(closure: LoopClosure) -> Pose | None:
    """The robot's turn between the views of a closure, as the message has it."""
    seen = closure.verification.T_match_query if closure.verification else None
    if seen is None:
        return None
    turn = Rotation.from_matrix(seen.rotation).as_quat()
    return camera_turn(Pose(0.0, 0.0, 0.0, *map(float, turn)), CameraConfig())


def drifted(keyframes: list[Keyframe], drift_deg: float, seed: int) -> list[Keyframe]:
    """The keyframes with odometry whose heading drifts."""
    poses = drifting([k.pose for k in keyframes if k.pose is not None], seed, drift_deg)
    return [dataclasses.replace(k, pose=p) for k, p in zip(keyframes, poses, strict=True)]


def corrected(keyframes: list[Keyframe], truth: list[Pose], wrong: int, seed: int) -> Drive:
    """Run the detector and the graph along a drive, as the nodes do."""
    detector = LoopDetector(LoopConfig(), Database(DatabaseConfig()))
    graph, rng, result = PoseGraph(), np.random.default_rng(seed), Correction.none()
    injected = set(rng.choice(np.arange(len(keyframes) // 2, len(keyframes)), wrong, False))
    times_ms, false_at = [], []
    for number, keyframe in enumerate(keyframes):
        assert keyframe.pose is not None
        graph.add_keyframe(keyframe.id, keyframe.stamp_ns, keyframe.pose, "odom")
        closure = detector.process(keyframe).closure
        if number in injected:
            far = [k for k in range(number // 2) if truth[k].distance_m(truth[number]) > 8]
            false_at.append(len(graph.closures))
            graph.add_closure(
                keyframe.id, keyframes[int(rng.choice(far))].id, Pose.planar(0, 0, 0)
            )
        if closure is not None:
            graph.add_closure(keyframe.id, closure.match.id, turn_of(closure))
        if closure is not None or number in injected:
            started = time.perf_counter()
            result = correct(*graph.snapshot(), graph.config, result)
            times_ms.append((time.perf_counter() - started) * 1e3)
    result = correct(*graph.snapshot(), graph.config, result)
    poses = [Pose.planar(x, y, 0.0) for x, y in result.poses[:, :2].tolist()]
    return Drive(
        ate_m([k.pose for k in keyframes if k.pose], truth),
        ate_m(poses, truth),
        len(graph.closures),
        int((result.verdicts[false_at, 0] == 1).sum()),
        times_ms,
    )


def _sees(pose: Pose, places: Iterable[Pose]) -> bool:
    near = (p for p in places if p.distance_m(pose) < SEEN_M)
    return any(p.angle_deg(pose) < SEEN_DEG for p in near)


def wake_ups(
    keyframes: list[Keyframe], first_lap: int, starts: int, seed: int
) -> tuple[list[tuple[int, float, float] | None], int]:
    """(keyframes until located, offset [m], turn [deg]) per start; None: not in 40 keyframes.

    And the number of starts after which fewer keyframes than must agree can see the map: they are
    nowhere near it or look another way.
    """
    rng, found, unseen = np.random.default_rng(seed), [], 0
    poses = {k.id: k.pose for k in keyframes[:first_lap] if k.pose is not None}
    for start in rng.integers(first_lap, len(keyframes) - 10, starts):
        database = Database(DatabaseConfig())
        for keyframe in keyframes[:first_lap]:
            database.add(keyframe)
        detector, relocalizer = LoopDetector(LoopConfig(), database), Relocalizer(poses)
        origin, answer = keyframes[start].pose, None
        assert origin is not None
        ahead = [k.pose for k in keyframes[start : start + SOON] if k.pose is not None]
        unseen += sum(_sees(pose, poses.values()) for pose in ahead) < AGREEING
        for number, keyframe in enumerate(keyframes[start : start + 40], 1):
            assert keyframe.pose is not None
            odometry = origin.inverse().compose(keyframe.pose)
            # A new run of the encoder, a day later, whose odometry starts at zero
            own = dataclasses.replace(
                keyframe,
                id=(1 << 40) + keyframe.id,
                stamp_ns=keyframe.stamp_ns + 86_400 * 10**9,
                pose=odometry,
                pose_frame="odom of the next day",
            )
            relocalizer.add_keyframe(own.id, own.stamp_ns, odometry, own.pose_frame)
            closure = detector.process(own).closure
            if closure is not None:
                relocalizer.add_closure(
                    own.id, closure.match.id, closure.confidence, turn_of(closure)
                )
            there = relocalizer.localization
            if there.state == State.LOCATED and there.pose is not None:
                off = there.pose.distance_m(keyframe.pose), there.pose.angle_deg(keyframe.pose)
                answer = (number, *off)
                break
        found.append(answer)
    return found, unseen


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bag", type=Path, help="a drive of two laps with odometry that is right")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--drift-deg", type=float, default=BIAS_DEG, help="per metre, to one side")
    parser.add_argument("--drives", type=int, default=5)
    parser.add_argument("--starts", type=int, default=50)
    options = parser.parse_args()
    settings, progress = Settings(), Progress(Console(stderr=True))
    encoder = EncoderReplay(Encoder(find_model(options.model)), settings)
    with Bag(options.bag) as bag:
        made = encoder.keyframes(bag, choose_topics(bag), progress)
        # ids as an encoder gives them, since 0 is none
        keyframes = [dataclasses.replace(e.keyframe, id=e.keyframe.id + 1) for e in made]
    truth = [k.pose for k in keyframes if k.pose is not None]
    if len(truth) != len(keyframes):
        raise VprError(f"{options.bag} has no odometry for each keyframe.")

    table = Table(title=f"Pose graph, medians of {options.drives} drives")
    for heading in ("", "odometry, m", "corrected, m", "share, %", "wrong closures accepted"):
        table.add_column(heading, justify="right")
    for wrong in (0, WRONG):
        drives = [
            corrected(drifted(keyframes, options.drift_deg, seed), truth, wrong, seed)
            for seed in range(options.drives)
        ]
        before = statistics.median(d.odometry_m for d in drives)
        after = statistics.median(d.corrected_m for d in drives)
        share = statistics.median(100 * d.corrected_m / d.odometry_m for d in drives)
        accepted = sum(d.accepted_wrong for d in drives)
        table.add_row(
            f"{wrong} wrong closures",
            f"{before:.2f}",
            f"{after:.2f}",
            f"{share:.1f}",
            f"{accepted} of {wrong * len(drives)}",
        )
    console = Console()
    console.print(table)
    times = [ms for d in drives for ms in d.updates_ms]
    console.print(
        f"one update: p50 {np.median(times):.0f} ms, p95 {np.percentile(times, 95):.0f} ms"
    )

    found, unseen = wake_ups(keyframes, len(keyframes) // 2, options.starts, 0)
    located = [f for f in found if f is not None]
    count, offset_m, turn_deg = (np.array(column) for column in zip(*located, strict=True))
    console.print(
        f"woke up at {len(found)} places, {unseen} of them not on the map or about to leave it: "
        f"{len(located)} located, {(count <= SOON).sum()} within {SOON} keyframes "
        f"(median {np.median(count):.0f}), {(offset_m > 5).sum()} in a wrong place"
    )
    for name, values in (("m", offset_m), ("degrees", turn_deg)):
        p50, p95 = np.percentile(values, (50, 95))
        console.print(f"off by {p50:.2f} {name} (median; p95 {p95:.2f})")


if __name__ == "__main__":
    try:
        main()
    except VprError as error:
        sys.exit(f"bench.mapping: {error}")
