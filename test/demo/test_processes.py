# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's child processes: watched, named when they die, never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo import processes
from demo.live import node_commands
from demo.processes import ProcessError, Processes
from vpr_ros.core.errors import VprError

SLEEP = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "print('awake', flush=True); time.sleep(60)",
]


def wait_for_line(running, name):
    deadline = time.monotonic() + 40
    while not running.lines(name) and time.monotonic() < deadline:
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_are_stopped_also_the_deaf_and_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_S", 0.3)
    with pytest.raises(KeyboardInterrupt), Processes(tmp_path, os.environ) as running:
        for name, command in (("willing", SLEEP), ("deaf", DEAF)):
            running.start(name, command)
            wait_for_line(running, name)
        pids = [process.pid for process in running._running.values()]
        raise KeyboardInterrupt
    assert not any(is_alive(pid) for pid in pids)


def test_a_death_is_told_with_the_end_of_the_log(tmp_path):
    with Processes(tmp_path, os.environ) as running:
        running.start("node", [sys.executable, "-c", "print('last words'); raise SystemExit(3)"])
        with pytest.raises(ProcessError, match=r"(?s)'node' ended with status 3.*last words"):
            while not running.ended("node"):
                time.sleep(0.02)


def test_a_killed_process_is_told_by_its_signal(tmp_path):
    with Processes(tmp_path, os.environ) as running:
        running.start("node", SLEEP)
        wait_for_line(running, "node")
        running._running["node"].send_signal(signal.SIGKILL)
        with pytest.raises(ProcessError, match="SIGKILL"):
            while not running.ended("node"):
                time.sleep(0.02)


STARTS = {
    "demo": "from demo.processes import Processes; "
    "Processes(folder, os.environ).start('child', [child])",
    "bench": "from bench.nodes import begin; begin(f'os.execv({child!r}, [{child!r}])')",
    "measure": "from bench.measure import fresh_process; "
    "process = fresh_process(); process.submit(os.execv, child, [child])",
    "server": "from tools import milvus_server; from tools.milvus_server import MilvusServer; "
    "milvus_server.install = MilvusServer.configure = lambda *_: None; "
    "MilvusServer(folder, 19940).start()",
}


@pytest.mark.parametrize("by", STARTS)
def test_children_end_with_a_parent_that_is_killed(by, tmp_path):
    child, noted = tmp_path / "bin" / "milvus", tmp_path / "pid"
    child.parent.mkdir()
    child.write_text(f"#!/bin/sh\necho $$ > {noted}.new; mv {noted}.new {noted}; exec sleep 60")
    child.chmod(0o755)
    code = "import os, sys, time; from pathlib import Path; folder = Path(sys.argv[1]); "
    code += f"child = str(folder / 'bin' / 'milvus'); {STARTS[by]}; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path]) as parent:
        _until(noted.exists)
        pid = int(noted.read_text())
        assert _runs(pid)
        parent.kill()
    _until(lambda: not _runs(pid))
    assert not _runs(pid)


def _until(condition):
    deadline = time.monotonic() + 40
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def _runs(pid):
    """A process that has ended but whose new parent does not collect it does not run."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_parameters_reach_their_node_alone():
    commands = node_commands(["database:loop.precision:=0.95"], Path("a.vprmap"))
    assert commands["database"][-2:] == ["-p", "loop.precision:=0.95"]
    assert "-p" not in commands["encoder"]
    assert commands["relocalizer"][-2:] == ["-p", "map:=a.vprmap"]


@pytest.mark.parametrize("text", ["loop.precision:=0.95", "database:loop.precision", "x:y:=1"])
def test_a_parameter_of_no_node_is_refused(text):
    with pytest.raises(VprError, match="NODE:NAME:=VALUE"):
        node_commands([text], Path())
