# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The process that solves the graph: the same answers, and what becomes of it when it is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.core.pose import Pose
from vpr_ros.mapping import graph_solver
from vpr_ros.mapping.graph_correction import correct
from vpr_ros.mapping.graph_solver import GraphSolver
from vpr_ros.mapping.pose_graph import (
    Correction,
    GraphClosure,
    GraphConfig,
    PoseGraph,
)

ROUND = 40


@pytest.fixture
def losses():
    return []


@pytest.fixture
def solver(losses):
    solver = GraphSolver(losses.append)
    yield solver
    solver.close()


def grow(graph, count):
    """Go on round a circle with odometry that drifts; every fourth keyframe closes a loop."""
    step = Pose.planar(1.0, 0.0, 2 * np.pi / ROUND * 1.02)
    for _ in range(count):
        k = len(graph)
        pose = graph.keyframes[-1].odometry.compose(step) if k else Pose.planar(0, 0, 0)
        graph.add_keyframe(k + 1, k * 10**9, pose, "odom")
        if k >= ROUND and k % 4 == 0:
            graph.add_closure(k + 1, k + 1 - ROUND, Pose.planar(0.0, 0.0, 0.0))


def same(a, b):
    return all(
        np.allclose(x, y, atol=1e-9, equal_nan=True)
        for x, y in ((a.poses, b.poses), (a.verdicts, b.verdicts))
    )


def test_it_answers_as_the_function_while_the_graph_grows_is_cut_and_the_process_dies(
    solver, losses
):
    config = GraphConfig(max_keyframes=120)
    graph, here, there = PoseGraph(config), Correction.none(), Correction.none()
    for step in range(6):
        grow(graph, 30)
        if (kept := graph.shrink()) is not None:
            here, there = here.of(*kept), there.of(*kept)
        if step == 4:
            os.kill(solver.pid, signal.SIGKILL)
        here = correct(*graph.snapshot(), config, here)
        there = solver.correct(graph.snapshot(), config, there)
        assert same(here, there)
    assert graph.keyframes[1].id > 2, "the graph was cut"
    assert len(losses) == solver.losses == 1 and "-9" in losses[0]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(solver.pid, number)  # meant for the node, which is to save first
    assert same(here, solver.correct(graph.snapshot(), config, there)) and solver.losses == 1
    wrong = [*graph.closures, GraphClosure(999, 0)]
    with pytest.raises(RuntimeError, match="not corrected: IndexError"):
        solver.correct((graph.keyframes, wrong), config, there)
    assert same(here, solver.correct(graph.snapshot(), config, there)) and solver.losses == 1


def test_one_that_cannot_run_is_an_error_and_no_endless_loop(solver, losses, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    os.kill(solver.pid, signal.SIGKILL)
    graph = PoseGraph()
    grow(graph, 50)
    with pytest.raises(Exception, match="lost twice"):
        solver.correct(graph.snapshot(), graph.config, Correction.none())
    assert len(losses) == 2 and "exit status 1" in losses[1]
    monkeypatch.undo()
    solver.correct(graph.snapshot(), graph.config, Correction.none())


def test_it_ends_with_its_parent_which_does_without_gtsam():
    code = (
        "import os, sys, vpr_ros.nodes.graph_node, vpr_ros.nodes.relocalizer_node\n"
        "assert 'gtsam' not in sys.modules\n"
        "from vpr_ros.mapping.graph_solver import GraphSolver\n"
        "print(GraphSolver(print).pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60)
    process = Path(f"/proc/{int(done.stdout)}")
    end = time.monotonic() + 30
    while process.exists() and "(zombie)" not in (process / "status").read_text():
        assert time.monotonic() < end, "the solver outlives the node"
        time.sleep(0.1)


def test_one_that_is_stuck_is_replaced(monkeypatch):
    monkeypatch.setattr(graph_solver, "LONGEST_S", 1.0)
    told = []

    def say(text):
        told.append(text)
        monkeypatch.undo()  # the next one has all the time it needs

    solver, graph = GraphSolver(say), PoseGraph()
    grow(graph, 50)
    os.kill(solver.pid, signal.SIGSTOP)
    found = solver.correct(graph.snapshot(), graph.config, Correction.none())
    solver.close()
    assert len(told) == 1 and found.on_map.all()
