# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a fleet costs a robot, and what kills, outages and 100,000 keyframes do to it.

python -m bench.fleet_costs           after `make demo`; some 30 minutes
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
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from pymilvus import MilvusClient
from rclpy.node import Node
from rich.console import Console
from rich.progress import track

from demo.fleet_demo import keyframes_and_truth, node_command, ros, spin, stamped, wait
from demo.live import node_commands
from demo.processes import Processes
from tools.milvus_server import MilvusServer, isolate
from vpr_msgs.msg import Keyframe as KeyframeMessage
from vpr_msgs.msg import Query
from vpr_ros.core.errors import VprError
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
FILLED = 4000  # keyframes put at once to fill a store
CLIENT = "from bench.fleet_costs import client; client({!r}, {!r}, {})"
ALONE = "no fleet node"
# What comes by turns; that of the second list with a server that is full.
BLOCKS = ([ALONE, "up", ALONE, "slow", "gone"], [ALONE, "full"])
PORTS = {"slow": SLOW_PORT, "gone": GONE_PORT}


def fleet_keyframe(id: int, row: Any = None, model: str = "bench", **more: Any) -> FleetKeyframe:
    """A keyframe of robot red; its descriptor is a random one unless a row is given."""
    if row is None:
        row = np.random.default_rng(id).standard_normal(768)
    row = (row / np.linalg.norm(row)).astype(np.float32)
    return FleetKeyframe("red", "bench", Keyframe(id, time.time_ns(), model, 0.0, row, **more))


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
    path, first_id, name, downs_s = folder / "red.outbox", random_first_id(), "", []
    with Processes(folder, os.environ) as processes:
        for number in track(range(count), "kills", transient=True):
            if not name:
                name = f"client{number}"
                code = CLIENT.format(server.uri, str(path), first_id + 10_000 * number)
                processes.start(name, [sys.executable, "-c", code])
                while not processes.lines(name):
                    time.sleep(0.05)
            time.sleep(random.uniform(0.0, 6.0))
            if number % 2 == 0:
                server.kill()
                began = time.monotonic()
                server.start()
                downs_s.append(time.monotonic() - began)
            if number % 2 or number == count - 1:
                processes.kill(name)
                name = ""
    outbox = Outbox(path, 4000)
    waiting, left_s = len(outbox), send_all(server.uri, outbox)
    said = " ".join(log.read_text() for log in folder.glob("client*.log"))
    promised = {int(word) for word in said.split() if word.isdigit()}
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
            with contextlib.suppress(OSError):  # while it is restarted
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
        self._frames = frames
        self._sent: dict[int, float] = {}
        self.times_ms: list[float] = []
        self.fleet: dict[str, str] = {}
        self._out = self.create_publisher(KeyframeMessage, "/red/keyframes", 50)
        self.create_subscription(Query, "/red/queries", self._on_query, 50)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_status, 50)

    def listened(self, count: int) -> bool:
        """Whether so many nodes hear the keyframes."""
        return self._out.get_subscription_count() == count

    def drive(self, first: int, count: int, rate_hz: float = RATE_HZ) -> list[float]:
        """Publish keyframes from this one on as a new run; how long their answers took [ms]."""
        self.times_ms, id = [], random_first_id()
        for index in range(first, first + count):
            message = stamped(self._frames[index % len(self._frames)], id + index)
            self._sent[message.id] = time.monotonic()
            self._out.publish(message)
            spin(self, 1.0 / rate_hz)
        wait(self, lambda: not self._sent, "the database's answers")
        return self.times_ms

    def _on_query(self, message: Query) -> None:
        if began := self._sent.pop(message.query_id, 0.0):
            self.times_ms.append(1e3 * (time.monotonic() - began))

    def _on_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if "fleet" in status.name:
                self.fleet = {v.key: v.value for v in status.values}
                self.fleet["message"] = status.message


def home(server: MilvusServer, folder: Path, rounds: int) -> Rows:
    """The database's answers without a fleet node and with one, whose server has troubles.

    In a round the same part of the drive is driven under each condition, in a map of the whole
    drive, which grows: so each condition comes first, second and so on as often as others. The
    fleet has the whole drive of another robot, which is found and judged, too. The server, of
    another machine in truth, has no more priority than the node fleet.
    """
    frames, rows = keyframes_and_truth()[0], Rows()
    SlowServer(SLOW_PORT, PORT)
    with contextlib.closing(MilvusFleet(MilvusConfig(uri=server.uri))) as store:
        first_id, seen = random_first_id(), map(to_keyframe, frames)
        theirs = [dataclasses.replace(k, id=first_id + i) for i, k in enumerate(seen)]
        store.put([FleetKeyframe("blue", "building", keyframe) for keyframe in theirs])
    with ros(folder) as processes:
        robot = Home(frames)
        processes.start("red_database", node_command("red", "database", "", folder))
        wait(robot, lambda: robot.listened(1), "the database")
        robot.drive(0, len(frames), 2 * RATE_HZ)
        for blocks in BLOCKS:
            if "full" in blocks:
                server.kill()
                server.configure(**FULL)
                server.start()
            with contextlib.suppress(OSError):  # it is alone in its session, which counts, too
                Path(f"/proc/{server.pid}/autogroup").write_text("10")
                for thread in Path(f"/proc/{server.pid}/task").iterdir():
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), 10)
            found, said = defaultdict[tuple[str, int], list[float]](list), {}
            for number in track(range(rounds), ", ".join(blocks), transient=True):
                turn = number % len(blocks)
                for name in blocks[turn:] + blocks[:turn]:
                    if name != ALONE:
                        uri = f"http://127.0.0.1:{PORTS.get(name, PORT)}"
                        processes.start("fleet", node_command("red", "fleet", uri, folder))
                        ready = lambda: not processes.ended("fleet") and robot.listened(2)  # noqa: E731
                        wait(robot, ready, "the fleet node")
                        spin(robot, 12.0)  # its start is not what is measured
                    found[name, number] += robot.drive(BLOCK * number, BLOCK)
                    if name != ALONE:
                        said[name] = robot.fleet["message"][:100]
                        processes.stop("fleet")
                        wait(robot, lambda: robot.listened(1), "the fleet node's end")
                        server.check()
            lists = {n: [found[n, r] for r in range(rounds)] for n in blocks}
            for name, of_rounds in lists.items():
                times_ms = np.concatenate(of_rounds)
                print(f"{name}: {len(times_ms)} answers; {said.get(name, '')}")
                p50, p95 = np.percentile(times_ms, (50, 95))
                rows.append((f"home, {name}: p50, p95", f"{p50:.1f}, {p95:.1f} ms", ""))
                if name != ALONE:
                    text = "  p95 over no fleet node, 95 % interval"
                    rows.append((text, ratio(of_rounds, lists[ALONE]), "<= 1.10"))
    return rows


def ratio(lists: list[list[float]], alone: list[list[float]]) -> str:
    """That of the 95th percentiles, and between what it is for rounds drawn by chance."""
    every, ratios = np.arange(len(lists)), []
    for rounds in (every, *np.random.default_rng(0).choice(every, (1000, len(every)))):
        ends = [np.percentile(np.concatenate([x[i] for i in rounds]), 95) for x in (lists, alone)]
        ratios.append(ends[0] / ends[1])
    low, high = np.percentile(ratios, (2.5, 97.5))
    return f"{ratios[0]:.2f}, {low:.2f} to {high:.2f}"


def query(server: MilvusServer, folder: Path, count: int) -> Rows:
    """The node's questions in a store of `count` keyframes, beside the demo's drive.

    What came since the last question is asked about, two seconds later, as on a robot. Stored are
    laps of the drive whose descriptors differ by noise, without local features, in seven maps, of
    which one, with half of them, is asked.
    """
    seen = [to_keyframe(frame) for frame in keyframes_and_truth()[0]]
    config, random_ = MilvusConfig(uri=server.uri), np.random.default_rng(0)
    began = time.monotonic()
    with contextlib.closing(MilvusFleet(config)) as store:
        for start in track(range(0, count, FILLED), f"{count} keyframes", transient=True):
            batch = []
            for number in range(start, min(start + FILLED, count)):
                lap, index = divmod(number, len(seen))
                view, spread = seen[index], random_.uniform(0, 1)
                row = view.descriptor * random_.normal(1.0, spread, view.descriptor.size)
                item = fleet_keyframe(
                    lap + 1 << 23 | index, row, view.model, model_digest=view.model_digest
                )
                name = f"building{lap % 12}" if lap % 2 else "building"
                batch.append(dataclasses.replace(item, robot=f"robot{lap % 9}", map=name))
            store.put(batch)
        client = MilvusClient(server.uri)
        client.flush(config.collection)
        while client.describe_index(config.collection, "descriptor")["pending_index_rows"]:
            time.sleep(0.5)
    print(f"{count} keyframes stored and indexed in {time.monotonic() - began:.0f} s")
    drive = RESULTS / "demo" / "drive"
    with ros(folder) as processes:
        robot = Home([])
        commands = node_commands((), folder / "map")
        for name in ("encoder", "database"):
            processes.start(name, commands[name])
        processes.start("fleet", node_command("vpr", "fleet", server.uri, folder))
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
    """Measure and print one table, also of the parts before one that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = {
        "home": lambda *at: home(*at, options.rounds),
        "kills": lambda *at: kills(*at, options.kills),
        "outage": lambda *at: catch_up(*at, options.waiting),
        "query": lambda *at: query(*at, options.keyframes),
    }
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5, help="of 40 keyframes, at home")
    parser.add_argument("--waiting", type=int, default=10_000, help="keyframes of an outage")
    parser.add_argument("--keyframes", type=int, default=100_000, help="that are searched")
    options = parser.parse_args()
    isolate()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows, fault = Rows(), ""
    with tempfile.TemporaryDirectory(prefix="vpr_fleet_") as name:
        for part in options.parts or parts:
            folder = Path(name) / part
            folder.mkdir()
            server = MilvusServer(folder / "milvus", PORT)
            try:
                server.start()
                rows += parts[part](server, folder)
            except (VprError, KeyboardInterrupt) as error:
                why = str(error) or "it was interrupted."
                fault = f"Part '{part}' has no result: {why}"
                break
            finally:
                server.kill()
    if rows:
        heads = ("", "measured", "goal")
        TextTable("A robot's part in a fleet", heads, tuple(rows)).print(Console())
    sys.exit(fault)


if __name__ == "__main__":
    main()
