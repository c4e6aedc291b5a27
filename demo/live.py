# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The live part of the demo: the nodes, a player and a recorder, as processes over DDS."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from demo.processes import ProcessError, Processes
from demo.topics import BATTERY, IMAGE, INFO, NEXT_DAY, NODES, PLAYED, READY, WHEELS
from vpr_ros.core.errors import VprError

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 90.0
DRAIN_S = 2.0  # for the last answer, and one more round of diagnostics, which come at 1 Hz
POLL_S = 0.1
# As launch/vpr.launch.py connects the nodes to a robot.
REMAPPINGS = {
    "image": IMAGE.removesuffix("/compressed"),
    "image/compressed": IMAGE,
    "camera_info": INFO,
    "odom": WHEELS,
    "battery_state": BATTERY,
}


def environment(domain: int, logs: Path) -> dict[str, str]:
    """Of all processes: a ROS graph of their own, which no robot nearby sees."""
    # The camera sends JPEGs, which need no large shared memory segment (config/fastdds.xml).
    inherited = {k: v for k, v in os.environ.items() if k != "FASTRTPS_DEFAULT_PROFILES_FILE"}
    return {
        **inherited,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(logs / "ros"),
        "PYTHONUNBUFFERED": "1",
    }


def node_commands(parameters: Sequence[str], map_path: Path) -> dict[str, list[str]]:
    """The command of each node, in namespace /vpr; VprError for a malformed parameter."""
    names = dict.fromkeys((*NODES, *NEXT_DAY))
    common = ["-r", "__ns:=/vpr"]
    for inner, outer in REMAPPINGS.items():
        common += ["-r", f"{inner}:={outer}"]
    file = ROOT / "config" / "vpr.yaml"
    if file.exists():
        common += ["--params-file", str(file)]
    commands = {}
    for name in names:
        code = f"from vpr_ros.nodes.start import {name}; {name}()"
        commands[name] = [sys.executable, "-c", code, "--ros-args", *common]
        if name != "encoder":
            commands[name] += ["-p", f"map:={map_path}"]
    for parameter in parameters:
        # rcl's own form for one node's parameter does not look into namespaces.
        node, _, assignment = parameter.partition(":")
        if node not in names or ":=" not in assignment:
            raise VprError(
                f"'{parameter}' sets no parameter; write NODE:NAME:=VALUE with one of the nodes "
                f"{', '.join(names)}."
            )
        commands[node] += ["-p", assignment]
    return commands


def run_live(
    folder: Path,
    logs: Path,
    duration_s: float,
    domain: int,
    commands: dict[str, list[str]],
    console: Console,
    wrong: int = 0,
    seed: int = 0,
) -> None:
    """Play `folder`/drive to the nodes; leaves `closures` and `play.json` beside it.

    `wrong`: how many wrong closures to inject.
    """
    with Processes(logs, environment(domain, logs)) as processes:
        record = [sys.executable, "-m", "demo.record", folder / "closures", str(wrong), str(seed)]
        processes.start("record", [*record, *commands])
        for name, command in commands.items():
            processes.start(name, command)
        with console.status(f"Starting {', '.join(commands)}"):
            _wait_until_ready(processes, list(commands))
        play = [sys.executable, "-m", "demo.play", folder / "drive", folder / "play.json"]
        processes.start("play", play)
        _follow(processes, list(commands), duration_s, console)
        time.sleep(DRAIN_S)
        _check(processes, list(commands))
        processes.stop("record")
        processes.stop(*commands)  # which saves map and graph


def _wait_until_ready(processes: Processes, nodes: list[str]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while READY not in (lines := processes.lines("record")):
        _check(processes, nodes)
        if time.monotonic() > deadline:
            heard = {line.split(":")[0] for line in lines}
            silent = [name for name in nodes if name not in heard]
            name = silent[0] if silent else "record"
            raise ProcessError(
                f"Node '{name}' has not reported within {START_TIMEOUT_S:.0f} s. "
                + processes.tail(name)
            )
        time.sleep(POLL_S)


def _follow(processes: Processes, nodes: list[str], duration_s: float, console: Console) -> None:
    """Show the progress of the drive and what the nodes say, until the player has ended."""
    columns = (
        TextColumn("Driving the route", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f}/{task.total:.0f} s", table_column=Column(no_wrap=True)),
        # Only this one gives way on a narrow terminal.
        TextColumn(
            "[dim]{task.fields[state]}",
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        task = progress.add_task("", total=duration_s, state="")
        while not processes.ended("play"):
            _check(processes, nodes)
            told = [x for x in processes.lines("play") if x.startswith(PLAYED)]
            said = dict(line.split(": ", 1) for line in processes.lines("record") if ": " in line)
            state = "; ".join(said[name] for name in reversed(nodes) if name in said)
            played_s = float(told[-1].removeprefix(PLAYED)) if told else 0.0
            progress.update(task, completed=played_s, state=state)
            time.sleep(POLL_S)
        progress.update(task, completed=duration_s)


def _check(processes: Processes, nodes: list[str]) -> None:
    """ProcessError if a node or the recorder has ended."""
    for name in ("record", *nodes):
        if processes.ended(name):
            raise ProcessError(f"Process '{name}' ended too early. {processes.tail(name)}")
