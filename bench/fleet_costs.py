# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a fleet costs a robot, and what kills, outages and 100,000 keyframes do to it.

python -m bench.fleet_costs           after `make demo`; some 40 minutes
python -m bench.fleet_costs kills     only that part: home, kills, outage or query

Against real Milvus servers (see tools/milvus_server.py), in a network of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rich.console import Console
from rich.progress import track

from demo.fleet_demo import keyframes_and_truth, node_command, stamped
from demo.live import environment, node_commands
from demo.processes import Processes
from tools.dds_domain import free_domain
from tools.milvus_server import MilvusServer, isolate
from vpr_msgs.msg import Keyframe as KeyframeMessage
from vpr_msgs.msg import Query
from vpr_ros.core.errors import FleetError
from vpr_ros.core.keyframe import Keyframe, LocalFeatures, random_first_id
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.evaluation.console import TextTable
from vpr_ros.evaluation.run_folder import RESULTS
from vpr_ros.fleet.courier import Courier, FleetConfig
from vpr_ros.fleet.fleet import FleetKeyframe, Where
from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet
from vpr_ros.fleet.outbox import Outbox
from vpr_ros.nodes.conversions import to_keyframe

Rows = list[tuple[str, str, str]]  # what, figure, goal
PORT, SLOW_PORT, GONE_PORT = 19530, 19730, 19830
FULL = {"quotaAndLimits.limitWriting.forceDeny": True}  # as when the disk is
DELAY_S = 1.5  # of what comes from the slow server
RATE_HZ = 8.0  # of keyframes, at home
BLOCK = 40  # keyframes under one condition at a time
CLIENT = "from bench.fleet_costs import client; client({!r}, {!r}, {})"
CONDITIONS = {"no fleet node": 0, "up": PORT, "slow": SLOW_PORT, "full": PORT,
              "gone": GONE_PORT}  # fmt: skip


def fleet_keyframe(id: int, size: int = 768, robot: str = "red", **fields: Any) -> FleetKeyframe:
    """A keyframe of nowhere in particular, as large as those of the default model."""
    row = np.random.default_rng(id).standard_normal(size).astype(np.float32)
    keyframe = Keyframe(id, time.time_ns(), "bench", 0.0, row / np.linalg.norm(row), **fields)
    return FleetKeyframe(robot, "bench", keyframe)


def features(seed: int) -> LocalFeatures:
    """300 of SIFT, whose descriptors are as hard to compress as real ones, or harder."""
    random = np.random.default_rng(seed)
    codes = random.exponential(25.0, (300, 128)).clip(0, 255).astype(np.uint8)
    return LocalFeatures(random.uniform(0, 640, (300, 2)).astype(np.float32), codes)


def courier(uri: str, outbox: Outbox) -> Courier:
    """One that sends, and never asks."""
    config = FleetConfig(robot="red", map="bench", ask_interval_s=0.0)
    return Courier(
        lambda: MilvusFleet(MilvusConfig(uri=uri)),
        "red",
        outbox,
        config,
        LoopConfig(),
        lambda closure: None,
        lambda line: print(line, file=sys.stderr, flush=True),
    )


def client(uri: str, path: str, first_id: int) -> None:
    """A robot of which no more is left than outbox and courier; prints what the outbox has taken.

    Runs in a process of its own, until it is killed.
    """
    sender = courier(uri, Outbox(Path(path), 4000))
    sender.start()
    for id in itertools.count(first_id):
        sender.add(fleet_keyframe(id, features=features(id % 50)).keyframe)
        print(id, flush=True)
        time.sleep(0.05)


def send_all(uri: str, outbox: Outbox) -> float:
    """How long it takes [s] until the outbox is empty."""
    sender, began = courier(uri, outbox), time.monotonic()
    sender.add(fleet_keyframe(random_first_id()).keyframe)  # tells it the size of descriptors
    sender.start()
    while len(outbox):
        time.sleep(0.05)
    took_s = time.monotonic() - began
    sender.finish()
    outbox.close()
    return took_s


def kills(server: MilvusServer, folder: Path, count: int) -> Rows:
    """kill -9 of server and client by turns, at random moments: what was taken must arrive."""
    taken, path, first_id = folder / "taken", folder / "red.outbox", random_first_id()
    taken.touch()
    client, downs_s = None, []
    for number in track(range(count), "kills", transient=True):
        if client is None:
            command = CLIENT.format(server.uri, str(path), first_id + 10_000 * number)
            before = taken.stat().st_size
            with taken.open("a") as out, (folder / "client.log").open("a") as log:
                client = subprocess.Popen([sys.executable, "-c", command], stdout=out, stderr=log)
            while taken.stat().st_size == before:
                time.sleep(0.05)
        time.sleep(random.uniform(0.0, 6.0))
        if number % 2 == 0:
            server.kill()
            began = time.monotonic()
            server.start()
            downs_s.append(time.monotonic() - began)
        if number % 2 or number == count - 1:
            client.kill()
            client.wait()
            client = None
    outbox = Outbox(path, 4000)
    waiting, left_s = len(outbox), send_all(server.uri, outbox)
    promised = set(map(int, taken.read_text().split()))
    with contextlib.closing(MilvusFleet(MilvusConfig(uri=server.uri))) as store:
        stored = {entry.id for entry in store.entries(Where("bench"))}
    return [
        (f"{count} kills: keyframes that the outbox had taken", str(len(promised)), ""),
        ("  of them lost", str(len(promised - stored)), "0"),
        ("  still in the outbox at the end, sent in", f"{waiting}, {left_s:.0f} s", ""),
        ("  a killed server answers again after, p50", f"{np.median(downs_s):.0f} s", ""),
    ]


def catch_up(server: MilvusServer, folder: Path, count: int) -> Rows:
    """How long the keyframes of an outage take to arrive, with local features."""
    outbox = Outbox(folder / "outage.outbox", 4000)
    first_id = random_first_id()
    for number in track(range(count), "an outage", transient=True):
        outbox.add(fleet_keyframe(first_id + number, features=features(number % 50)))
    size = outbox.megabytes
    took_s = send_all(server.uri, outbox)
    what = f"{count} keyframes after an outage, {size:.0f} MB"
    return [(what, f"{took_s:.0f} s", f"< {120 * count / 10_000:.0f} s")]


class SlowServer:
    """Passes on what is said to a server at once, and what it answers after DELAY_S."""

    def __init__(self, port: int, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near = self._listener.accept()[0]
            far = socket.create_connection(("127.0.0.1", self._target))
            for ends in ((near, far, 0.0), (far, near, DELAY_S)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket, delay_s: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(delay_s)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Home(Node):
    """Plays keyframes to a robot's database, and times its answers."""

    def __init__(self, frames: list[Any]) -> None:
        super().__init__("bench")
        self._frames = itertools.cycle(frames)
        self._id = random_first_id()
        self._sent: dict[int, float] = {}
        self.times_ms: list[float] = []
        self.fleet: dict[str, str] = {}
        self._out = self.create_publisher(KeyframeMessage, "/red/keyframes", 50)
        self.create_subscription(Query, "/red/queries", self._on_query, 50)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_status, 50)

    def listened(self, count: int) -> bool:
        """Whether so many nodes hear the keyframes."""
        return self._out.get_subscription_count() == count

    def drive(self, count: int) -> list[float]:
        """Publish keyframes; how long their answers took [ms]."""
        self.times_ms = []
        for frame in itertools.islice(self._frames, count):
            self._id += 1
            message = stamped(frame, self._id)
            self._sent[self._id] = time.monotonic()
            self._out.publish(message)
            spin(self, 1.0 / RATE_HZ)
        spin(self, 0.5)
        return self.times_ms

    def _on_query(self, message: Query) -> None:
        if began := self._sent.pop(message.query_id, 0.0):
            self.times_ms.append(1e3 * (time.monotonic() - began))

    def _on_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if "fleet" in status.name:
                self.fleet = {v.key: v.value for v in status.values}
                self.fleet["message"] = status.message


def spin(node: Node, seconds: float) -> None:
    """Let time pass."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=left)


def wait(node: Node, condition: Any, what: str) -> None:
    """Spin until a condition holds."""
    end = time.monotonic() + 60
    while not condition():
        spin(node, 0.1)
        if time.monotonic() > end:
            sys.exit(f"Waited a minute for {what}.")


@contextlib.contextmanager
def ros(folder: Path) -> Iterator[Processes]:
    """A ROS graph of its own, and processes in it."""
    domain, holder = free_domain()
    settings = environment(domain, folder)
    os.environ.update(settings)
    rclpy.init()
    try:
        with Processes(folder, settings) as processes:
            yield processes
    finally:
        rclpy.shutdown()
        holder.close()


def restart(server: MilvusServer, **settings: bool) -> None:
    """With other settings."""
    server.kill()
    server.configure(**settings)
    server.start()


def home(server: MilvusServer, folder: Path, rounds: int) -> Rows:
    """The database's answers without a fleet node and with one, whose server has troubles."""
    frames = keyframes_and_truth()[0]
    SlowServer(SLOW_PORT, PORT)
    found, said = defaultdict[str, list[float]](list), {}
    with ros(folder) as processes:
        robot = Home(frames)
        processes.start("red_database", node_command("red", "database", "", folder))
        wait(robot, lambda: robot.listened(1), "the database")
        robot.drive(2 * BLOCK)  # everything is warm
        for _ in track(range(rounds), "home", transient=True):
            for name, port in random.sample(list(CONDITIONS.items()), len(CONDITIONS)):
                if name == "full":
                    restart(server, **FULL)
                if port:
                    command = node_command("red", "fleet", f"http://127.0.0.1:{port}", folder)
                    processes.start("fleet", command)
                    wait(robot, lambda: robot.listened(2), "the fleet node")
                    spin(robot, 2.0)
                found[name] += robot.drive(BLOCK)
                if port:
                    said[name] = robot.fleet["message"]
                    processes.kill("fleet")
                    wait(robot, lambda: robot.listened(1), "the fleet node's end")
                if name == "full":
                    restart(server)
    base = np.percentile(found["no fleet node"], (50, 95))
    rows = []
    for name, times_ms in found.items():
        p50, p95 = np.percentile(times_ms, (50, 95))
        ratios = f"{p50 / base[0]:.2f}, {p95 / base[1]:.2f}"
        print(f"{name}: {len(times_ms)} answers; {said.get(name, '')}")
        rows.append((f"home, {name}: p50, p95", f"{p50:.1f}, {p95:.1f} ms", ""))
        rows.append(("  over no fleet node", ratios, "p95 <= 1.10"))
    return rows


def query(server: MilvusServer, folder: Path, count: int) -> Rows:
    """The node's questions in a store of `count` keyframes, beside the demo's drive.

    A keyframe every two seconds or less is asked about, as on a robot; stored are views without
    local features of seven maps, of which one, with half of them, is asked.
    """
    first = to_keyframe(keyframes_and_truth()[0][0])
    size, digest = first.descriptor.size, first.model_digest
    with contextlib.closing(MilvusFleet(MilvusConfig(uri=server.uri))) as store:
        random_ = np.random.default_rng(0)
        for start in track(range(0, count, 250), f"{count} keyframes", transient=True):
            batch = []
            for id in range(start + 1, start + 251):
                item = fleet_keyframe((1 << 40) + id, size, robot=f"robot{id % 9}")
                keyframe = dataclasses.replace(
                    item.keyframe, model=first.model, model_digest=digest
                )
                name = "building" if id % 2 else f"building{random_.integers(6)}"
                batch.append(dataclasses.replace(item, map=name, keyframe=keyframe))
            while True:
                with contextlib.suppress(FleetError):  # a busy machine; the node tries again, too
                    store.put(batch)
                    break
    drive, asked = RESULTS / "demo" / "drive", 0
    with ros(folder) as processes:
        robot = Home([])
        commands = node_commands((), folder / "map")
        for name in ("encoder", "database"):
            processes.start(name, commands[name])
        command = node_command("vpr", "fleet", server.uri, folder)
        processes.start("fleet", command)
        wait(robot, lambda: robot.fleet and robot.count_publishers("/vpr/queries"), "the nodes")
        play = [sys.executable, "-m", "demo.play", drive, folder / "play.json"]
        processes.start("play", play)
        while not processes.ended("play"):
            spin(robot, 0.5)
        spin(robot, 3.0)
        asked, find_ms = robot.fleet["asked"], float(robot.fleet["find_ms"])
    what = f"question across robots at {count} keyframes, beside the drive, p50 ({asked} asked)"
    return [(what, f"{find_ms:.0f} ms", "< 50 ms")]


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = ("home", "kills", "outage", "query")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=8, help="of 40 keyframes, at home")
    parser.add_argument("--waiting", type=int, default=10_000, help="keyframes of an outage")
    parser.add_argument("--keyframes", type=int, default=100_000, help="that are searched")
    options = parser.parse_args()
    isolate()
    rows: Rows = []
    with tempfile.TemporaryDirectory(prefix="vpr_fleet_") as name:
        for part in options.parts or parts:
            folder = Path(name) / part
            folder.mkdir()
            server = MilvusServer(folder / "milvus", PORT)
            server.start()
            try:
                if part == "home":
                    rows += home(server, folder, options.rounds)
                elif part == "kills":
                    rows += kills(server, folder, options.kills)
                elif part == "outage":
                    rows += catch_up(server, folder, options.waiting)
                else:
                    rows += query(server, folder, options.keyframes)
            finally:
                server.kill()
    TextTable("A robot's part in a fleet", ("", "measured", "goal"), tuple(rows)).print(Console())


if __name__ == "__main__":
    main()
