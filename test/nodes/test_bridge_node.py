# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The bridges, against processes that have the published interfaces of rtabmap and Hydra."""

import json
import subprocess
import sys

import numpy as np
import pytest
import stand_ins
from geometry_msgs.msg import Quaternion
from messages import hostile_closures

from vpr_msgs.msg import LoopClosure
from vpr_ros.nodes.conversions import to_time

SECOND = 10**9


def closure(query_s, match_s):
    """A closure whose query looks 90 degrees to the left of its match."""
    message = LoopClosure(query_id=2, match_id=1, match_stamp=to_time(round(match_s * SECOND)))
    message.header.stamp = to_time(round(query_s * SECOND))
    half = float(np.sqrt(0.5))  # the image's y axis points down
    message.has_relative_pose, message.rotation = True, Quaternion(y=-half, w=half)
    return message


@pytest.mark.timeout(600)
@pytest.mark.parametrize("to", ["rtabmap", "hydra"])
def test_closures_reach_the_other_side(robot, monkeypatch, tmp_path, to):
    for name, value in stand_ins.environment().items():
        monkeypatch.setenv(name, value)
    heard = tmp_path / "heard"
    with heard.open("w") as out:
        stand_in = stand_ins.start(robot, 60, out)
    try:
        robot.start("bridge", to=to, robot_id=3)
        closures = robot.publisher(LoopClosure, "loop_closures")
        told = {"rtabmap": ("nodes", "30"), "hydra": ("level", b"\0")}[to]
        robot.wait(lambda: robot.status["bridge"][told[0]] == told[1], "the other side")
        robot.spin(1.0)
        for bad, _ in hostile_closures(closure(128.2, 104.9)):
            closures.publish(bad)
        for query_s, match_s in ((128.2, 104.9), (128.2, 104.9), (128.3, 105.1), (128.0, 42.0)):
            closures.publish(closure(query_s, match_s))  # the first comes from two databases
        sent = {"rtabmap": ("1", "1"), "hydra": ("3", "0")}[to]
        robot.wait(
            lambda: (robot.status["bridge"]["sent"], robot.status["bridge"]["dropped"]) == sent,
            "the closures to be passed on",
        )
        robot.wait(heard.read_text, "what was heard")
        robot.wait(lambda: int(robot.status["bridge"]["problems"]) >= 7, "what was refused")
        assert robot.status["bridge"]["unforeseen"] == "0"
    finally:
        stand_in.kill()
        stand_in.wait()
    kind, *values = json.loads(heard.read_text().splitlines()[0])
    matrix, quarter = np.array(values.pop()).reshape(6, 6), values.pop()
    assert quarter == pytest.approx(np.sqrt(0.5))
    if to == "rtabmap":  # node 6 is of second 105, node 29 of 128; 4: a user's closure
        assert (kind, values) == ("link", [6, 29, 4])
        assert matrix[0, 0] == pytest.approx(1.0) and matrix[5, 5] == pytest.approx(91.2, abs=0.1)
    else:
        assert (kind, values) == ("edge", [round(128.2 * SECOND), round(104.9 * SECOND), 3, 3, 1])
        assert matrix[0, 0] == pytest.approx(1.0) and matrix[5, 5] == pytest.approx(1 / 91.2, 0.01)


@pytest.mark.parametrize("to", ["rtabmap", "hydra"])
def test_a_package_that_is_missing_takes_one_line(to):
    code = "from vpr_ros.nodes.start import bridge; bridge()"
    command = [sys.executable, "-c", code, "--ros-args", "-p", f"to:={to}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "needs the package" in done.stderr
