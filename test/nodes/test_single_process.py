# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several nodes in one process: each has its own parameters, and all save and end as alone."""

import signal
import subprocess
import sys

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from messages import keyframe
from nav_msgs.msg import Odometry

from vpr_msgs.msg import Keyframe, Query
from vpr_ros.nodes.start import CONFIGURATION


def test_nodes_in_one_process_work_and_save_as_alone(robot, tmp_path):
    maps = {"map": "office", "map_folder": str(tmp_path / "maps")}
    names = {"encoder": {"model": "no_such"}, "database": maps, "graph": maps}
    robot.start_together(names, "-r", "graph:odom:=/wheels")
    assert "no_such" in robot.status["encoder"]["message"], "a fault of one is its own"
    assert not any("does not exist and is ignored" in line for line in robot.logs)
    wheels = robot.publisher(Odometry, "/wheels")
    assert wheels.get_subscription_count() == 1
    keyframes = robot.publisher(Keyframe, "keyframes")
    robot.wait(lambda: keyframes.get_subscription_count() == 2, "database and graph")
    answers = robot.listen(Query, "queries")
    for number in range(3):
        message = keyframe(number, robot.stamp(), has_pose=True)
        message.pose.orientation.w, message.pose.position.x = 1.0, float(number)
        keyframes.publish(message)
        robot.wait(lambda n=number: len(answers) > n, "an answer")
    robot.status.clear()
    robot.wait(lambda: robot.status.get("graph", {}).get("keyframes") == "3", "the graph")
    assert robot.end("nodes", signal.SIGTERM) == 0
    saved = {path.name for path in (tmp_path / "maps").iterdir()}
    assert saved == {"office.vprmap", "office.vprgraph"}


def test_one_that_cannot_start_leaves_the_others_and_lifecycle_is_per_node(robot):
    robot.begin("nodes", ["--lifecycle", "database", "relocalizer"])
    change = {"transition": Transition(id=Transition.TRANSITION_CONFIGURE)}
    assert robot.call(ChangeState, "database/change_state", **change).success
    assert robot.call(ChangeState, "relocalizer/change_state", **change).success
    change = {"transition": Transition(id=Transition.TRANSITION_ACTIVATE)}
    assert robot.call(ChangeState, "relocalizer/change_state", **change).success
    robot.wait(lambda: "relocalizer" in robot.status, "the one that is active")
    assert "database" not in robot.status
    assert robot.end("nodes") == 0
    process = robot.begin("nodes", ["database", "relocalizer"], "-p", "loop.precision:=7.0")
    robot.wait(lambda: "relocalizer" in robot.status, "the relocalizer", 30)
    process.errors.seek(0)
    assert b"loop.precision" in process.errors.read()
    robot.wait(lambda: "database" not in robot.node.get_node_names(), "it to be gone")
    assert robot.end("nodes") == CONFIGURATION, "the exit status says that one was missing"
    wrong = subprocess.run(
        [sys.executable, "-c", "from vpr_ros.nodes.start import nodes; nodes()", "graf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == CONFIGURATION
    assert "'nodes graf': name some of encoder, database" in wrong.stderr
