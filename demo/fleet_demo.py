# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Three robots drive parts of the demo's building and close loops with one another.

`make demo-fleet` runs this after `make demo`, whose keyframes it plays through real nodes: each
robot is a database and a fleet node; they share a real Milvus server. On the way one robot and
the server are killed with kill -9 and come back.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rich.console import Console

from demo.building import building
from demo.drive import drive
from demo.live import environment
from demo.live_figures import draw_plan, project
from demo.processes import Processes
from demo.topics import KEYFRAMES
from tools.dds_domain import FAREWELL_S, free_domain
from tools.milvus_server import MilvusServer, isolate
from vpr_msgs.msg import Keyframe, LoopClosure
from vpr_ros.core.errors import VprError
from vpr_ros.core.keyframe import random_first_id
from vpr_ros.evaluation.bag import Bag, choose_topics, stamp_ns
from vpr_ros.evaluation.console import TextTable, say
from vpr_ros.evaluation.figures import AMBER, BLUE, GREEN, GREY, RED, drawing
from vpr_ros.evaluation.metrics import machine
from vpr_ros.evaluation.report import Section, write_page
from vpr_ros.evaluation.run_folder import RESULTS, latest, run_folder
from vpr_ros.evaluation.truth import LoopRule
from vpr_ros.evaluation.truth_source import find_truth
from vpr_ros.fleet.fleet import Where
from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet
from vpr_ros.nodes.conversions import from_keyframe, to_keyframe

# Which share of the drive each robot drives, one after the other; laps overlap.
PARTS = {"red": (0.0, 0.35), "green": (0.25, 0.65), "blue": (0.55, 1.0)}
RATE_HZ = 6.0  # keyframes per second, two to three times as fast as the drive
PATIENCE_S = 180.0
COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}
RULE = LoopRule()
MOST_WRONG = 0.02  # of the closures across robots; some are right but for a degree or two
LIFT_M = 9.0  # of a robot's route in the figure over that of the one before
INTRO = (
    "Three robots drove overlapping parts of one building, one after the other. Each has its own "
    "database and a node fleet; they share a Milvus server, and know nothing else of each other. "
    "On the way green's node fleet, and during blue's drive the server, were killed with kill -9."
)
ROUTES = (
    "The routes over the floor plan, each robot's lifted above that of the one before. A line "
    "joins a keyframe with the other robot's that the fleet closed a loop with."
)


@dataclasses.dataclass(frozen=True)
class Closed:
    """A closure that a robot's nodes published."""

    robot: str
    whose: str  # the robot whose keyframe it matched
    query: int  # index of the keyframe in the drive
    match: int
    lag_s: float  # from the keyframe
    right: bool

    @property
    def across(self) -> bool:
        """Whether it is with another robot."""
        return self.robot != self.whose


class Robots(Node):
    """Plays keyframes to the robots' nodes and collects what these close."""

    def __init__(self, frames: list[Any], same: np.ndarray) -> None:
        """`same` (N, N): which of the keyframes show one place."""
        super().__init__("demo_fleet")
        self._frames, self._same = frames, same
        self.sent: dict[int, int] = {}  # id: index of the keyframe in the drive
        self.sent_s: dict[int, float] = {}
        self.closures: list[Closed] = []
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
            message = stamped(self._frames[index], first_id + index)
            self.sent[message.id], self.sent_s[message.id] = index, time.monotonic()
            self._out[robot].publish(message)
            spin(self, 1.0 / RATE_HZ)

    def _on_closure(self, robot: str, message: LoopClosure) -> None:
        if not {message.query_id, message.match_id} <= self.sent.keys():
            return
        lag_s = time.monotonic() - self.sent_s[message.query_id]
        query, match = self.sent[message.query_id], self.sent[message.match_id]
        whose, right = message.match_robot or robot, bool(self._same[query, match])
        self.closures.append(Closed(robot, whose, query, match, lag_s, right))


def spin(node: Node, seconds: float) -> None:
    """Let time pass."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=left)


def wait(node: Node, condition: Callable[[], Any], what: str) -> None:
    """Spin until a condition holds; VprError if it never does."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        spin(node, 0.1)
        if time.monotonic() > end:
            raise VprError(f"Waited {PATIENCE_S:.0f} s for {what}.")


@contextlib.contextmanager
def ros(folder: Path) -> Iterator[Processes]:
    """A ROS graph of its own, and processes in it; Ctrl-C is a KeyboardInterrupt."""
    domain, holder = free_domain()
    settings = environment(domain, folder)
    os.environ.update(settings)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        with holder, Processes(folder, settings) as processes:
            yield processes
    finally:
        time.sleep(FAREWELL_S)
        rclpy.shutdown()


def stamped(frame: Any, id: int) -> Keyframe:
    """A keyframe of the drive under another id, as of now."""
    message = from_keyframe(to_keyframe(frame))
    message.id, now_ns = id, time.time_ns()
    message.header.stamp = Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9)
    return message


def node_command(robot: str, name: str, uri: str, folder: Path) -> list[str]:
    """One of the robot's nodes; there is no encoder, as its work has been done."""
    given = {
        "fleet.robot": robot,
        "fleet.map": "building",
        "fleet.outbox": f"{folder / robot}.outbox",
        "milvus.uri": uri,
    }
    command = [sys.executable, "-c", f"from vpr_ros.nodes.start import {name}; {name}()"]
    command += ["--ros-args", "-r", f"__ns:=/{robot}"]
    for key, value in given.items() if name == "fleet" else ():
        command += ["-p", f"{key}:={value}"]
    return command


def keyframes_and_truth() -> tuple[list[Any], np.ndarray, np.ndarray]:
    """The demo's keyframes in order, (N, N) which pairs show one place, (N, 2) where [m]."""
    demo = RESULTS / "demo"
    if not (demo / "closures").is_dir():
        raise VprError("There is no drive yet. Run: make demo")
    play = json.loads((demo / "play.json").read_text())
    with Bag(demo / "closures") as bag:
        frames = [m for _, _, m in bag.messages([KEYFRAMES])]
    blank = Keyframe()
    for message in frames:
        for name in blank.get_fields_and_field_types():  # an older drive may lack some
            if not hasattr(message, name):
                setattr(message, name, getattr(blank, name))
        message.thumbnail = bytes(message.thumbnail)
    stamps = np.array([stamp_ns(m) for m in frames]) - play["offset_ns"]
    with Bag(demo / "drive") as bag:
        source = find_truth(bag, "", RULE, choose_topics(bag).odometry)
        truth = source.of(stamps, np.arange(len(frames)))
    every, poses = np.arange(len(frames)), drive()
    at = np.searchsorted([p.stamp_s for p in poses], (stamps - play["begin_ns"]) * 1e-9 - 1e-6)
    return frames, truth.same(every, every), np.array([(poses[i].x_m, poses[i].y_m) for i in at])


def part(robot: str, count: int) -> tuple[int, int]:
    """The first keyframe that a robot drives, and the one after its last."""
    first, last = (round(share * count) for share in PARTS[robot])
    return first, last


def main() -> int:
    """Run the demo; one line for what a user can mend."""
    argparse.ArgumentParser(prog="python -m demo.fleet_demo", description=__doc__).parse_args()
    console = Console()
    try:
        isolate()
        faults = run(console)
    except (VprError, KeyboardInterrupt) as error:
        faults = str(error) or "the demo was interrupted."
    if faults:
        console.print(f"Error: {faults}", style="red", markup=False, soft_wrap=True)
    return int(bool(faults))


def run(console: Console) -> str:
    """The drive of each robot, the two kills, the page; what must not be, or ""."""
    frames, same, spots = keyframes_and_truth()
    started, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="vpr_fleet_"))
    server = MilvusServer(folder / "milvus")
    try:
        server.start()
        with ros(folder) as processes:
            robots = Robots(frames, same)
            lost = drive_all(console, robots, processes, server, folder, len(frames))
    finally:
        server.kill()
    shutil.rmtree(folder, ignore_errors=True)  # half a gigabyte; kept where something failed
    table = closure_table(robots.closures, len(robots.sent), lost)
    table.print(console)
    for closed in (c for c in robots.closures if not c.right):
        metres = np.linalg.norm(spots[closed.query] - spots[closed.match])
        say(console, f"Wrong: {closed}, {metres:.1f} m apart")
    with run_folder() as results:
        minutes = (time.monotonic() - started) / 60
        write_report(results / "report.html", table, robots.closures, spots, minutes)
    say(console, f"Report: {latest() / 'report.html'}")
    return faults_of(robots.closures, lost)


def drive_all(
    console: Console,
    robots: Robots,
    processes: Processes,
    server: MilvusServer,
    folder: Path,
    count: int,
) -> int:
    """Have the robots drive, and kill two processes; how many keyframes were lost."""

    def start(robot: str, name: str) -> None:
        processes.start(f"{robot}_{name}", node_command(robot, name, server.uri, folder))

    for robot in PARTS:
        start(robot, "database")
        start(robot, "fleet")
    for robot in PARTS:
        wait(robots, lambda r=robot: robots.listened(r), f"robot {robot}")
        first, last = part(robot, count)
        middle, id = (first + last) // 2, random_first_id()
        say(console, f"{robot} drives, keyframes {first} to {last - 1}")
        robots.drive(robot, first, middle, id)
        if robot == "green":
            say(console, "kill -9 of green's fleet node")
            processes.kill("green_fleet")
            # Until DDS has noticed, the dead node still counts as a listener.
            wait(robots, lambda: not robots.listened("green"), "green's end")
            start("green", "fleet")
            wait(robots, lambda: robots.listened("green"), "robot green")
        if robot == "blue":
            say(console, "kill -9 of the server")
            server.kill()
            robots.drive(robot, middle, middle + 10, id)
            server.start()
            middle += 10
        robots.drive(robot, middle, last, id)
    with contextlib.closing(MilvusFleet(MilvusConfig(uri=server.uri))) as store:
        wait(robots, lambda: stored(store) == len(robots.sent), "all keyframes to be stored")
        spin(robots, 15.0)  # the last are asked about
        return len(set(robots.sent) - {e.id for e in store.entries(Where("building"))})


def stored(store: MilvusFleet) -> int:
    """How many keyframes the server has; -1 while it is not up."""
    try:
        return store.count(Where("building"))
    except VprError:
        return -1


def faults_of(closures: list[Closed], lost: int) -> str:
    """What must not be, in one line; "" for nothing."""
    across = [c for c in closures if c.across]
    wrong = sum(not c.right for c in across)
    many = wrong > MOST_WRONG * len(across)
    faults = [f"{wrong} of {len(across)} closures across robots are wrong"] if many else []
    faults += [f"{lost} keyframes were lost"] if lost else []
    faults += [] if across else ["no loop was closed across robots"]
    return ", ".join(faults)


def closure_table(closures: list[Closed], sent: int, lost: int) -> TextTable:
    """Who closed how many loops with whom, and when."""
    pairs = sorted({(c.robot, c.whose) for c in closures}, key=lambda p: (p[0] == p[1], p))
    kinds = [
        (f"{a} with {b}" if a != b else f"{a}, at home",
         [c for c in closures if (c.robot, c.whose) == (a, b)])
        for a, b in pairs
    ]  # fmt: skip
    kinds.append(("across robots", [c for c in closures if c.across]))
    rows = []
    for name, chosen in kinds:
        right = sum(c.right for c in chosen)
        lags = np.percentile([c.lag_s for c in chosen], (50, 95)) if chosen else ()
        seconds = [f"{lag:.1f}" for lag in lags] or ["-", "-"]
        rows.append((name, str(right), str(len(chosen) - right), *seconds))
    return TextTable(
        "Three robots, one store",
        ("closures", "right", "wrong", "after p50\ns", "after p95\ns"),
        tuple(rows),
        (f"{sent} keyframes sent; lost: {lost or 'none'}.",),
    )


def write_report(
    path: Path, table: TextTable, closures: list[Closed], spots: np.ndarray, minutes: float
) -> None:
    """The page; `spots` (N, 2): where the drive's keyframes were taken [m]."""
    across = [c for c in closures if c.across]
    right = sum(c.right for c in across)
    title = "Routes and closures across robots"
    figure = drawing(title, draw_routes, across, spots, size=(11, 5.4), narrow=(4.6, 3.2))
    write_page(
        path,
        title="Has one of us been here before?",
        headline=f"{len(across)} loops closed across robots, {right} of them right",
        intro=INTRO,
        tiles=(
            (str(right), "right closures across robots"),
            (str(len(across) - right), "wrong"),
            *((row[3], "s from keyframe to closure, p50") for row in table.rows[-1:]),
            (table.notes[0].rpartition(": ")[2].rstrip("."), "keyframes lost in two kills"),
        ),
        sections=[
            Section("Routes", ROUTES, figure),
            Section("Closures", "", table.html()),
        ],
        terms={
            "Right": f"positions within {RULE.metres:g} m, headings within "
            f"{RULE.degrees:g} degrees.",
            "After": "from the publication of a keyframe to the arrival of its closure; "
            "keyframes are played two to three times as fast as they were taken.",
        },
        command="make demo-fleet",
        machine=f"{machine()}; {minutes:.0f} minutes",
    )


def draw_routes(figure: Figure, across: list[Closed], spots: np.ndarray) -> None:
    """Draw the routes, one robot's above the other's, and what joins them."""
    axes = figure.subplots()
    draw_plan(axes, building())
    lifts = {robot: LIFT_M * level for level, robot in enumerate(PARTS)}
    handles = []
    for robot, colour in COLOURS.items():
        chosen = spots[slice(*part(robot, len(spots)))]
        axes.plot(*project(*chosen.T, lifts[robot]), color=colour, linewidth=1.8, zorder=3)
        handles.append(Line2D([], [], color=colour, linewidth=1.8, label=robot))
    for right, colour, width, text in ((True, GREY, 0.7, "right"), (False, AMBER, 2.0, "wrong")):
        chosen = [c for c in across if c.right == right]
        lines = [
            [project(*spots[c.query], lifts[c.robot]), project(*spots[c.match], lifts[c.whose])]
            for c in chosen
        ]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, zorder=2))
        label = f"{text} closure ({len(chosen)})"
        handles.append(Line2D([], [], color=colour, linewidth=width, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.margins(0.01)


if __name__ == "__main__":
    sys.exit(main())
