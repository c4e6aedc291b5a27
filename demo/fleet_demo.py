# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Three robots drive parts of the demo's building and close loops with one another.

`make demo-fleet` runs this after `make demo`, whose keyframes it plays through real nodes: each
robot is a database and a fleet node; they share a real Milvus server. On the way one robot and
the server are killed with kill -9 and come back.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rich.console import Console
from rich.table import Table

from demo.live import environment
from demo.processes import Processes
from demo.topics import KEYFRAMES
from vpr_msgs.msg import Keyframe, LoopClosure
from vpr_ros.core.errors import VprError
from vpr_ros.core.keyframe import random_first_id
from vpr_ros.evaluation.bag import Bag, choose_topics, stamp_ns
from vpr_ros.evaluation.run_folder import RESULTS
from vpr_ros.evaluation.truth import LoopRule
from vpr_ros.evaluation.truth_source import find_truth
from vpr_ros.fleet.fleet import Where
from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet
from vpr_ros.nodes.conversions import from_keyframe, to_keyframe

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "milvus"
WHEEL = ("milvus==2.3.5", "setuptools<70")  # newer ones ship no server
PORT = 19530
URI = f"http://127.0.0.1:{PORT}"
# Which share of the drive each robot drives, one after the other; laps overlap.
PARTS = {"red": (0.0, 0.35), "green": (0.25, 0.65), "blue": (0.55, 1.0)}
RATE_HZ = 6.0  # keyframes per second, two to three times as fast as the drive
PATIENCE_S = 180.0


class Server:
    """A Milvus server of the wheel, in a virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        if not (VENV / "bin" / "milvus-server").exists():
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
            pip = [VENV / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *WHEEL]
            if subprocess.run(pip).returncode:
                shutil.rmtree(VENV)
                raise VprError(
                    f"{WHEEL[0]} cannot be installed; see above. It needs x86-64 Linux."
                )

    def start(self) -> None:
        """Start, and wait until it answers; VprError if it does not, or another one runs."""
        if self._answers():
            raise VprError("A Milvus server runs on this host already; the demo needs its ports.")
        # The wheel takes another port without a word while connections of a killed server linger.
        _wait_until_free(PORT)
        with (self._folder.parent / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    VENV / "bin" / "milvus-server",
                    "--data",
                    self._folder,
                    "--proxy-port",
                    str(PORT),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise VprError(f"Milvus did not start; see {self._folder.parent}.")
            time.sleep(0.5)

    def kill(self) -> None:
        """kill -9 of the server and what started it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @staticmethod
    def _answers() -> bool:
        fleet = MilvusFleet(MilvusConfig(uri=URI))
        try:
            return fleet.health().ok
        finally:
            fleet.close()


def _wait_until_free(port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket() as probe:
            try:
                return probe.bind(("", port))
            except OSError as error:
                if time.monotonic() > end:
                    raise VprError(f"Port {port} is not free: {error}.") from None
        time.sleep(0.5)


class Robots(Node):
    """Plays keyframes to the robots' nodes and collects what these close."""

    def __init__(self, frames: list[Any]) -> None:
        super().__init__("demo_fleet")
        self._frames = frames
        self.sent: dict[int, int] = {}  # id: index of the keyframe in the drive
        self.sent_s: dict[int, float] = {}
        self.closures: list[tuple[str, str, int, int, float]] = []  # robot, whose, ids, lag [s]
        self._out = {r: self.create_publisher(Keyframe, f"/{r}/keyframes", 50) for r in PARTS}
        for robot in PARTS:
            for topic in ("loop_closures", "fleet_closures"):
                self.create_subscription(
                    LoopClosure, f"/{robot}/{topic}", lambda m, r=robot: self._on_closure(r, m), 50
                )

    def listened(self, robot: str, count: int = 2) -> bool:
        """Whether the robot's nodes hear its keyframes."""
        return bool(self._out[robot].get_subscription_count() >= count)

    def drive(self, robot: str, begin: int, end: int, first_id: int) -> None:
        """Publish the keyframes from index `begin` to before `end` under new ids, as of now."""
        for index in range(begin, end):
            message = from_keyframe(to_keyframe(self._frames[index]))
            message.id = first_id + index
            now_ns = time.time_ns()
            message.header.stamp = Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9)
            self.sent[message.id], self.sent_s[message.id] = index, time.monotonic()
            self._out[robot].publish(message)
            self.spin(1.0 / RATE_HZ)

    def spin(self, seconds: float) -> None:
        """Let time pass."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self, timeout_sec=left)

    def wait(self, condition: Any, what: str) -> None:
        """Spin until a condition holds; VprError if it never does."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.spin(0.2)
            if time.monotonic() > end:
                raise VprError(f"The demo waited {PATIENCE_S:.0f} s for {what}.")

    def _on_closure(self, robot: str, message: LoopClosure) -> None:
        lag_s = time.monotonic() - self.sent_s.get(message.query_id, time.monotonic())
        whose = message.match_robot or robot
        self.closures.append((robot, whose, message.query_id, message.match_id, lag_s))


def start_node(processes: Processes, robot: str, name: str, folder: Path) -> None:
    """One of the robot's nodes; there is no encoder, as its work has been done."""
    given = {
        "fleet.robot": robot,
        "fleet.map": "building",
        "fleet.outbox": f"{folder / robot}.outbox",
        "milvus.uri": URI,
    }
    command = [sys.executable, "-c", f"from vpr_ros.nodes.start import {name}; {name}()"]
    command += ["--ros-args", "-r", f"__ns:=/{robot}"]
    for key, value in given.items() if name == "fleet" else ():
        command += ["-p", f"{key}:={value}"]
    processes.start(f"{robot}_{name}", command)


def keyframes_and_truth() -> tuple[list[Any], np.ndarray]:
    """The demo's keyframes in order, and (N, N) which pairs show one place."""
    demo = RESULTS / "demo"
    if not (demo / "closures").is_dir():
        raise VprError("There is no drive yet. Run: make demo")
    offset = json.loads((demo / "play.json").read_text())["offset_ns"]
    with Bag(demo / "closures") as bag:
        frames = [m for _, _, m in bag.messages([KEYFRAMES])]
    blank = Keyframe()
    for message in frames:
        for name in blank.get_fields_and_field_types():  # an older drive may lack some
            if not hasattr(message, name):
                setattr(message, name, getattr(blank, name))
        message.thumbnail = bytes(message.thumbnail)
    with Bag(demo / "drive") as bag:
        source = find_truth(bag, "", LoopRule(), choose_topics(bag).odometry)
        stamps = np.array([stamp_ns(m) - offset for m in frames])
        truth = source.of(stamps, np.arange(len(frames)))
    every = np.arange(len(frames))
    return frames, truth.same(every, every)


def main() -> int:
    """Run the demo; one line for what a user can mend."""
    console = Console()
    try:
        run(console)
    except VprError as error:
        console.print(f"Error: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    return 0


def run(console: Console) -> None:
    """The drive of each robot, the two kills, the table."""
    frames, same = keyframes_and_truth()
    folder = Path(tempfile.mkdtemp(prefix="vpr_fleet_"))
    domain = 1 + os.getpid() % 100
    settings = environment(domain, folder)
    os.environ.update(settings)
    console.print("Milvus listens on all interfaces of this host while the demo runs.")
    server = Server(folder / "milvus")
    with Processes(folder, settings) as processes:
        try:
            server.start()
            rclpy.init()
            robots = Robots(frames)
            for robot in PARTS:
                for name in ("database", "fleet"):
                    start_node(processes, robot, name, folder)
            for robot, (begin, end) in PARTS.items():
                robots.wait(lambda r=robot: robots.listened(r), f"robot {robot}")
                first, last = (round(share * len(frames)) for share in (begin, end))
                middle, id = (first + last) // 2, random_first_id()
                console.print(f"{robot} drives, keyframes {first} to {last - 1}")
                robots.drive(robot, first, middle, id)
                if robot == "green":
                    console.print("kill -9 of green's fleet node")
                    processes.kill("green_fleet")
                    # Until DDS has noticed, the dead node still counts as a listener.
                    robots.wait(lambda: not robots.listened("green"), "green's end")
                    start_node(processes, "green", "fleet", folder)
                    robots.wait(lambda: robots.listened("green"), "robot green")
                if robot == "blue":
                    console.print("kill -9 of the server")
                    server.kill()
                    robots.drive(robot, middle, middle + 10, id)
                    server.start()
                    middle += 10
                robots.drive(robot, middle, last, id)
            store = MilvusFleet(MilvusConfig(uri=URI))
            robots.wait(lambda: stored(store) == len(robots.sent), "all keyframes to be stored")
            robots.spin(15.0)  # the last are asked about
            found = {e.id for e in store.entries(Where("building"))}
            report(console, robots, same, len(set(robots.sent) - found))
            store.close()
        finally:
            server.kill()
            rclpy.try_shutdown()
    shutil.rmtree(folder / "milvus", ignore_errors=True)


def stored(store: MilvusFleet) -> int:
    """How many keyframes the server has; -1 while it is not up."""
    try:
        return store.count(Where("building"))
    except VprError:
        return -1


def report(console: Console, robots: Robots, same: np.ndarray, lost: int) -> None:
    """The table."""
    table = Table(title="Three robots, one store")
    for heading in ("closures", "right", "wrong", "lag p50, s", "lag p95, s"):
        table.add_column(heading, justify="left" if heading == "closures" else "right")
    kinds = {"within a robot": [], "across robots": []}  # type: dict[str, list[Any]]
    for closure in robots.closures:
        kinds["within a robot" if closure[0] == closure[1] else "across robots"].append(closure)
    for name, closures in kinds.items():
        right = [bool(same[robots.sent[c[2]], robots.sent[c[3]]]) for c in closures]
        lags = np.percentile([c[4] for c in closures], (50, 95)) if closures else ()
        counts = (str(sum(right)), str(len(right) - sum(right)))
        table.add_row(name, *counts, *([f"{lag:.1f}" for lag in lags] or ["-", "-"]))
    console.print(table)
    pairs = {(c[0], c[1]) for c in kinds["across robots"]}
    console.print(", ".join(f"{a} closed loops with {b}" for a, b in sorted(pairs)))
    console.print(f"{len(robots.sent)} keyframes sent; lost: {lost or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
