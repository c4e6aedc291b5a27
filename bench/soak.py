# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A robot's long life: is the last lap like the first full one?

python -m bench.soak --hours 24          simulated: one route driven for a day, a full database
python -m bench.soak --live 60           real nodes for an hour, images at 30 Hz: memory

Simulated means the node's own objects at full speed. Times are CPU times: others may be at work.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.measure import memory_mb
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.keyframe import NS_PER_S, Keyframe, LocalFeatures, random_first_id
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector

INTERVAL_S = 5.0  # between two keyframes
SIZE = 768  # of a descriptor
LANDMARKS = 120  # seen from a place
FOCAL, WIDTH, HEIGHT = 200.0, 320, 240  # px
RIGHT = 3  # a match at most this many places away is right


@dataclasses.dataclass(frozen=True)
class Lap:
    """What one lap was like."""

    number: int
    closures: int
    wrong: int
    keyframe_ms: float  # median CPU time
    kept: int  # keyframes in the database
    database_mb: float
    process_mb: float


class Route:
    """A closed route past places with landmarks of their own; every view is a little different."""

    def __init__(self, places: int, seed: int = 0) -> None:
        self.random = random = np.random.default_rng(seed)
        self.places = places
        looks = random.standard_normal((places, SIZE))
        # Neighbours look alike.
        looks = looks + 0.7 * (np.roll(looks, 1, axis=0) + np.roll(looks, -1, axis=0))
        self._looks = looks / np.linalg.norm(looks, axis=1, keepdims=True)
        self._points = random.uniform(0, 1, (places, LANDMARKS, 3)) * (12.0, 9.0, 14.0)
        self._points -= (6.0, 4.5, -3.0)
        self._descriptors = random.integers(0, 256, (places, LANDMARKS, 32), np.uint8)

    def view(self, place: int) -> tuple[np.ndarray, LocalFeatures]:
        """Descriptor (SIZE,) and features of a place, from about the same spot."""
        look = self._looks[place] + 0.4 * self.random.standard_normal(SIZE) / SIZE**0.5
        points = self._points[place] + self.random.normal(0, 0.15, 3)
        pixels = FOCAL * points[:, :2] / points[:, 2:] + (WIDTH / 2, HEIGHT / 2)
        pixels += self.random.normal(0, 0.4, pixels.shape)
        seen = np.all((pixels >= 0) & (pixels < (WIDTH, HEIGHT)), axis=1)
        flips = 1 << self.random.integers(0, 8, (LANDMARKS, 32), np.uint8)
        flips[self.random.uniform(size=flips.shape) > 0.2] = 0
        descriptors = (self._descriptors[place] ^ flips)[seen]
        features = LocalFeatures(pixels[seen].astype(np.float32), descriptors.astype(np.uint8))
        return (look / np.linalg.norm(look)).astype(np.float32), features


def drive(laps: int, places: int, max_keyframes: int) -> Iterator[Lap]:
    """Laps of one route; the database is full after max_keyframes / places of them."""
    route, first = Route(places), random_first_id()
    detector = LoopDetector(
        LoopConfig(score_threshold=0.5),
        Database(DatabaseConfig(max_keyframes=max_keyframes)),
    )
    for lap in range(laps):
        closures = wrong = 0
        times = []
        for place in range(places):
            number = lap * places + place
            descriptor, features = route.view(place)
            keyframe = Keyframe(
                id=first + number,
                stamp_ns=int((1000 + number * INTERVAL_S) * NS_PER_S),
                model="soak",
                sparsity=0.0,
                descriptor=descriptor,
                features=features,
            )
            started = time.process_time()
            query = detector.process(keyframe)
            times.append(time.process_time() - started)
            if query.closure is not None:
                away = abs((query.closure.match.id - first) % places - place)
                right = min(away, places - away) <= RIGHT
                closures, wrong = closures + right, wrong + (not right)
        kept = len(detector.database)
        size_mb = kept * detector.database.bytes_per_keyframe / 1e6
        ms = 1e3 * float(np.median(times))
        yield Lap(lap + 1, closures, wrong, ms, kept, size_mb, memory_mb(os.getpid()))


def live(minutes: float) -> Iterator[tuple[float, float, float, int]]:
    """Minute, resident memory of the encoder and of the database [MB], loops closed so far.

    Images of 640x480 at 30 Hz past the same places, a keyframe every half metre.
    """
    from nav_msgs.msg import Odometry  # here, since the simulated soak needs no ROS
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    from bench.nodes import picture
    from bench.process_faults import messages, running
    from vpr_msgs.msg import LoopClosure

    frames = [picture(place) for place in range(40)]
    with running("encoder", "database", database__max_keyframes=100) as robot:
        closures = robot.listen(LoopClosure, "loop_closures")
        camera = robot.publisher(Image, "image", qos_profile_sensor_data)
        odometry = robot.publisher(Odometry, "odom", qos_profile_sensor_data)
        robot.wait_for_database()
        pids = [robot.processes[name].pid for name in ("encoder", "database")]
        start, due, count, closed = time.monotonic(), 0.0, 0, 0
        while (minute := (time.monotonic() - start) / 60) <= minutes:
            stamp = robot.stamp()
            metres = count * 0.05
            odometry.publish(messages.odometry(metres % (len(frames) / 2), stamp))
            camera.publish(messages.raw(frames[int(metres * 2) % len(frames)], stamp))
            count += 1
            robot.spin(max(0.001, start + count / 30 - time.monotonic()))
            closed += len(closures)
            closures.clear()
            if minute >= due:
                due += minutes / 12
                yield minute, *(memory_mb(pid) for pid in pids), closed


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="simulated")
    parser.add_argument("--places", type=int, default=100, help="keyframes of a lap")
    parser.add_argument("--max-keyframes", type=int, default=1000)
    parser.add_argument("--live", type=float, metavar="MINUTES", help="real nodes instead")
    args = parser.parse_args()
    if args.live:
        table = Table("minute", "encoder [MB]", "database [MB]", "closures")
        for minute, *memory, closures in live(args.live):
            table.add_row(f"{minute:.1f}", *(f"{mb:.1f}" for mb in memory), str(closures))
    else:
        laps = round(args.hours * 3600 / INTERVAL_S / args.places)
        names = ("closures", "wrong", "ms per keyframe", "kept", "database [MB]", "process [MB]")
        table = Table("lap", *names, title=f"{laps} laps of {args.places} keyframes")
        shown = {1, laps, *np.geomspace(2, laps, 12).astype(int).tolist()}
        for lap in drive(laps, args.places, args.max_keyframes):
            if lap.number in shown:
                table.add_row(*(f"{value:.4g}" for value in dataclasses.astuple(lap)))
    Console().print(table)


if __name__ == "__main__":
    main()
