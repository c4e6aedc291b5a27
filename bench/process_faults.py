# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults in a node's life: signals at any moment, kill -9 while it saves, a disk that is full."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from demo.processes import end_with_parent
from tools.dds_domain import free_domain
from vpr_msgs.msg import Query
from vpr_msgs.srv import SaveMap
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.keyframe import NS_PER_S, Keyframe, LocalFeatures
from vpr_ros.core.map_file import read_map
from vpr_ros.fleet.outbox import Outbox
from vpr_ros.nodes.start import NODES, STOP_SIGNALS

sys.path.insert(0, str(Path(__file__).parents[1] / "test" / "nodes"))
import messages
import stand_ins  # noqa: F401 (for bench.message_faults)
from robot import Robot, read_errors

Counts = dict[str, tuple[int, int]]  # kind of fault -> (tried, survived)

KEYFRAMES = 200  # in the map that is saved again and again


@contextlib.contextmanager
def running(*names: str, **parameters: Any) -> Iterator[Robot]:
    """A robot with these nodes, which are ended with it."""
    robot = Robot()
    try:
        for name in names:
            robot.start(name, **parameters)
        yield robot
    finally:
        robot.stop()


def stops(count: int, seed: int = 0) -> Counts:
    """Stop signals while a node starts, from its first line on, and while it has much to do.

    Each node and all in one process. Survived is a stop with exit status 0, without a traceback,
    and with everything saved that was answered, or reported as taken. The interpreter's own start,
    before it runs a line of ours, is left out: nothing can be done about it, nothing is lost.
    """
    rng = random.Random(seed)
    names = itertools.cycle(["nodes", "fleet", "bridge", "graph", "relocalizer", *NODES])
    domain, holder = free_domain()
    with holder:
        starting = [_stopped_while_starting(rng, domain, next(names)) for _ in range(count)]
    loaded = [
        ok for turn in range((count + 1) // 4) for ok in _stopped_under_load(rng, turn % 2 == 0)
    ]
    return {
        "stop signal while starting": (len(starting), sum(starting)),
        "stop signal under load": (len(loaded), sum(loaded)),
    }


def _stopped_while_starting(rng: random.Random, domain: int, name: str) -> bool:
    code = f"{end_with_parent()}; from vpr_ros.nodes.start import {name}; {name}()"
    if rng.random() < 0.5:  # as for a shell's background jobs, launch files among them
        code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {code}"
    words = [*NODES] if name == "nodes" else []
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as data:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words, "--ros-args", "-r", "__ns:=/stops"],
            env=dict(os.environ, ROS_DOMAIN_ID=str(domain), XDG_DATA_HOME=data),
            stderr=errors,
        )
        process.errors = errors
        while process.poll() is None and not _takes_signals(process.pid):
            time.sleep(0.001)
        time.sleep(0.005 + rng.random() ** 2 * 3.0)  # early moments more often
        _signal(process, rng)
        return _ended_well(process)


def _stopped_under_load(rng: random.Random, together: bool) -> Iterator[bool]:
    """All nodes, at a random moment while images and keyframes keep coming."""
    random_picture = np.random.default_rng(rng.randrange(2**32))
    with tempfile.TemporaryDirectory() as maps, running() as robot:
        kept = {"map": "office", "map_folder": maps}
        settings: dict[str, dict[str, Any]] = {name: {} for name in NODES}
        settings |= {"database": kept, "graph": kept, "fleet": {"fleet__robot": "red"}}
        settings["encoder"] = {"gate__interval_s": 0.0, "gate__distance_m": 0.1}
        if together:
            robot.start_together(settings)
        else:
            for name, parameters in settings.items():
                robot.start(name, **parameters)
        answers = robot.listen(Query, "queries")
        camera = robot.publisher(Image, "image")
        odometry = robot.publisher(Odometry, "odom", qos_profile_sensor_data)
        processes, robot.processes = robot.processes, {}
        begin = time.monotonic()
        stop = begin + rng.uniform(0.0, 3.0)
        signalled = False
        while any(process.poll() is None for process in processes.values()):
            pixels, stamp = random_picture.integers(0, 255, (240, 320, 3), np.uint8), robot.stamp()
            odometry.publish(messages.odometry(5.0 * (time.monotonic() - begin), stamp))
            camera.publish(messages.raw(pixels, stamp))
            robot.spin(0.03)
            if not signalled and time.monotonic() > stop:
                signalled = True
                for process in processes.values():
                    _signal(process, rng)
            if time.monotonic() > stop + 40:
                break
        for process in processes.values():
            yield _ended_well(process)
        robot.spin(0.2)
        yield _promises_kept(robot, Path(maps), {answer.query_id for answer in answers})


def _promises_kept(robot: Robot, maps: Path, answered: set[int]) -> bool:
    """Whether all that was answered, or reported as taken, is on disk."""
    path, graph = maps / "office.vprmap", maps / "office.vprgraph"
    saved = set(read_map(path).ids.tolist()) if path.exists() else set()
    places = graph.read_text().count("\nkeyframe ") if graph.exists() else 0
    outbox = Outbox(Path(robot.data.name) / "vpr_ros" / "red.outbox", 1000)
    lost = {
        "database": len(answered - saved),
        "graph": int(robot.status["graph"]["keyframes"]) - places,
        "fleet": int(robot.status["fleet"]["waiting"]) - len(outbox),
    }
    outbox.close()
    if any(count > 0 for count in lost.values()):
        print(f"keyframes that were taken and not saved: {lost}", file=sys.stderr)
    return all(count <= 0 for count in lost.values())


def _signal(process: subprocess.Popen[bytes], rng: random.Random) -> None:
    """A stop signal, half of the time two of them, as under ros2 launch in a terminal."""
    numbers = [n for n in STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup
    process.send_signal(rng.choice(numbers))
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is None:
            process.send_signal(rng.choice(numbers))


def _ended_well(process: Any) -> bool:
    try:
        code = process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        code = f"none, killed, {process.wait()}"
    errors = read_errors(process)
    if code == 0 and "Traceback" not in errors:
        return True
    print(f"exit status {code}: {errors[-2000:]}", file=sys.stderr)
    return False


def _takes_signals(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM."""
    with contextlib.suppress(OSError):
        caught = Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
    return False


def kills_while_saving(count: int, seed: int = 0) -> Counts:
    """kill -9 at any moment of a save; survived is a map that then loads completely."""
    rng = random.Random(seed)
    survived = 0
    with _map() as path, running() as robot:
        for turn in range(count + 1):
            robot.start("database", map=path, map_folder=path.parent)
            survived += turn > 0 and robot.status["database"]["keyframes"] == str(KEYFRAMES)
            client = robot.node.create_client(SaveMap, "save_map")
            robot.wait(client.service_is_ready, "save_map")
            client.call_async(SaveMap.Request(path=str(path), overwrite=True))
            robot.spin(rng.uniform(0.0, 0.2))
            robot.kill("database")
    return {"kill -9 while saving a map": (count, survived)}


def full_disks(count: int, seed: int = 0) -> Counts:
    """A disk that ends within a save; survived is an error, the old map untouched, and a node."""
    rng = random.Random(seed)
    survived = 0
    with _map() as path, running() as robot:
        process = robot.start("database", map=path, map_folder=path.parent)
        before = path.read_bytes()
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        for _ in range(count):
            room = rng.randrange(len(before))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, most))
            answer = robot.call(SaveMap, "save_map", path=str(path), overwrite=True)
            survived += not answer.success and path.read_bytes() == before
            survived -= len(list(path.parent.iterdir())) > 1  # the half that was written
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        answer = robot.call(SaveMap, "save_map", path=str(path), overwrite=True)
        if not answer.success:
            print(f"not saved with room again: {answer.message}", file=sys.stderr)
            survived = 0
    return {"full disk while saving a map": (count, survived)}


@contextlib.contextmanager
def _map() -> Iterator[Path]:
    """A map of some MB, alone in its folder."""
    random = np.random.default_rng(0)
    database = Database(DatabaseConfig())
    for number in range(KEYFRAMES):
        descriptor = random.standard_normal(768).astype(np.float32)
        points = random.uniform(0, 240, (200, 2)).astype(np.float32)
        features = LocalFeatures(points, random.integers(0, 256, (200, 128), np.uint8))
        database.add(
            Keyframe(
                id=number + 1,
                stamp_ns=(number + 1) * NS_PER_S,
                model="m",
                sparsity=0.0,
                descriptor=descriptor / np.linalg.norm(descriptor),
                features=features,
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.vprmap"
        database.save(path)
        yield path
