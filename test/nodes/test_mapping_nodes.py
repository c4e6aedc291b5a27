# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Nodes graph and relocalizer: a corrected trajectory, and waking up in the map that it saved."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path as FilePath

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    PoseWithCovarianceStamped,
    Quaternion,
    TransformStamped,
)
from messages import odometry
from nav_msgs.msg import Odometry, Path
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import end_of, nodes_here
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from vpr_msgs.msg import ClosureVerdict, Keyframe, Localization, LoopClosure
from vpr_ros.mapping.graph_file import read_graph
from vpr_ros.nodes.graph_node import GraphNode

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SAME = Quaternion(w=1.0)


def keyframe(id, x, y=0.0, pose=True, seconds=None):
    """A keyframe on the way, a second after the one of the id before."""
    message = Keyframe(id=id, model="m", has_pose=pose, pose_frame="odom")
    message.header.stamp = Time(sec=int(seconds if seconds is not None else 1000 + id))
    message.descriptor = [1.0, 0.0]
    message.pose.position.x, message.pose.position.y = float(x), float(y)
    message.pose.orientation.w = 1.0
    return message


def closure(query, match, confidence=0.99):
    """A closure whose views look the same way."""
    message = LoopClosure(query_id=query, match_id=match, confidence=confidence)
    message.has_relative_pose, message.rotation = True, SAME
    return message


def round_the_circle(index):
    """Where the robot is after so many of 40 steps."""
    angle = 2 * math.pi * index / 40
    return 40 / (2 * math.pi) * math.sin(angle), 40 / (2 * math.pi) * (1 - math.cos(angle))


def solver_of(graph):
    """Id of the process that solves the graph of a node."""
    lists = FilePath(f"/proc/{graph.pid}/task").glob("*/children")
    return int("".join(file.read_text() for file in lists))


def test_a_corrected_trajectory_and_the_wake_up_in_it(robot, tmp_path):
    office = tmp_path / "office.vprmap"
    graph = robot.start("graph", map=str(office))
    keyframes = robot.publisher(Keyframe, "keyframes", 100)
    closures = robot.publisher(LoopClosure, "loop_closures", 100)
    odometer = robot.publisher(Odometry, "odom", 10)
    verdicts = robot.listen(ClosureVerdict, "closure_verdicts")
    transforms = robot.listen(TFMessage, "/tf")
    paths = robot.listen(Path, "path", LATCHED)
    markers = robot.listen(MarkerArray, "graph_markers", LATCHED)

    # Twice round a circle of 40 m, while the odometry drifts aside by 4 m
    for index in range(80):
        x, y = round_the_circle(index)
        keyframes.publish(keyframe(index + 1, x, y + 0.05 * index))
        if index >= 40 and index % 4 == 0:
            closures.publish(closure(index + 1, index - 39))
        robot.spin(0.01)
    closures.publish(closure(80, 20))  # wrong: across the circle
    closures.publish(closure(80, 4242))  # names a keyframe that never came
    robot.wait(lambda: robot.status["graph"]["closures_accepted"] == "10", "the correction")
    robot.wait(lambda: {20, 4242} <= {v.match_id for v in verdicts if not v.accepted}, "verdicts")
    wrong = next(v for v in verdicts if v.query_id == 80 and v.match_id == 20)
    assert wrong.offset_m > 8 and "m and" in wrong.reason
    assert any("not in the graph" in v.reason for v in verdicts if v.match_id == 4242)
    odometer.publish(odometry(39, robot.stamp()))
    robot.wait(lambda: transforms, "map -> odom")
    transform = transforms[-1].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("map", "odom")
    assert transform.transform.translation.y == pytest.approx(-0.05 * 79, abs=1.0)

    def shown():
        ends = [path.poses[-1].pose.position for path in paths[-1:] if len(path.poses) == 80]
        return any(math.dist((end.x, end.y), round_the_circle(39)) < 1.0 for end in ends)

    robot.wait(shown, "the corrected path")
    robot.wait(lambda: markers and markers[-1].markers[0].points, "the markers")

    assert robot.status["graph"]["level"] == b"\0"
    os.kill(solver_of(graph), signal.SIGKILL)
    closures.publish(closure(79, 39))
    robot.wait(lambda: robot.status["graph"]["closures_accepted"] == "11", "the correction")
    robot.wait(lambda: robot.status["graph"]["solver_losses"] == "1", "the loss")
    assert "was lost (exit status -9)" in robot.status["graph"]["message"]
    # However long a correction takes, who stops the node need not wait for it.
    saved = tmp_path / "office.vprgraph"
    os.kill(solver_of(graph), signal.SIGSTOP)
    closures.publish(closure(78, 38))
    x, y = round_the_circle(80)
    keyframes.publish(keyframe(81, x, y + 4.0))
    robot.wait(lambda: robot.status["graph"]["keyframes"] == "81", "the last keyframe")
    graph.send_signal(signal.SIGINT)
    robot.wait(lambda: saved.exists() and saved.read_text().count("\nkeyframe ") == 81, "a graph")
    os.kill(solver_of(graph), signal.SIGKILL)
    assert end_of("graph", robot.processes.pop("graph")) == 0
    assert saved.read_text().count("\nkeyframe ") == 81

    # The next day the robot wakes up on the circle with odometry from zero.
    robot.start("relocalizer", map=str(office))
    robot.wait(lambda: keyframes.get_subscription_count() > 0, "the relocalizer")
    robot.wait(lambda: closures.get_subscription_count() > 0, "the relocalizer")
    poses = robot.listen(PoseWithCovarianceStamped, "initialpose")
    every = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    states = robot.listen(Localization, "localization", every)
    assert robot.status["relocalizer"]["places_on_the_map"] == "81"
    for step in range(4):
        if step:
            closures.publish(closure(5000 + step, 21 + step))  # may come before its keyframe
        x, y = round_the_circle(20 + step)
        keyframes.publish(keyframe(5000 + step, x - 3, y + 8, seconds=90_000 + step))
        robot.wait(lambda s=90_000 + step: any(m.header.stamp.sec == s for m in states), "a state")
    robot.wait(lambda: poses, "initialpose")
    robot.wait(lambda: states[-1].state == Localization.LOCATED, "a state")
    stages = list(dict.fromkeys(s.state for s in states))  # a keyframe may come before its closure
    assert stages[:2] == [Localization.LOST, Localization.CANDIDATES]
    assert states[-1].state == Localization.LOCATED
    assert len(poses) == 1  # not again for each closure
    at = poses[0].pose.pose.position
    assert poses[0].header.frame_id == "map"
    assert math.dist((at.x, at.y), round_the_circle(22)) < 1.0
    covariance = np.array(poses[0].pose.covariance).reshape(6, 6)
    assert 0.1 < math.sqrt(covariance[0, 0]) < 2 and covariance[5, 5] > 0
    assert "located at x" in states[-1].message
    assert robot.call(Trigger, "relocalize").success
    keyframes.publish(keyframe(5100, 5, seconds=90_010))
    robot.wait(lambda: states[-1].state == Localization.LOST, "lost again")


def test_a_new_session_joins_the_saved_map_and_bad_odometry_is_said(robot, tmp_path):
    lines = ["vpr_ros pose graph 1"]
    for index in range(40):
        x, y = round_the_circle(index)
        lines.append(f"keyframe {index + 1} {index} 0 {x} {y} 0 0 0 0 1 {x} {y} 0 0 0 0 1")
    (tmp_path / "office.vprgraph").write_text("\n".join(lines) + "\n")
    robot.start("graph", map=str(tmp_path / "office.vprmap"))
    keyframes = robot.publisher(Keyframe, "keyframes", 100)
    closures = robot.publisher(LoopClosure, "loop_closures", 100)
    odometer = robot.publisher(Odometry, "odom", 10)
    transforms = robot.listen(TFMessage, "/tf")

    def problem(frame, words):
        message = odometry(0, robot.stamp())
        message.header.frame_id = frame
        odometer.publish(message)
        return words in robot.status["graph"]["message"]

    x0, y0 = round_the_circle(10)
    for step in range(3):  # odometry begins at zero where the map has x0, y0
        x, y = round_the_circle(10 + step)
        keyframes.publish(keyframe(5000 + step, x - x0, y - y0))
        robot.wait(lambda: problem("odom", "not on the map yet"), "a report")
        assert not transforms
        closures.publish(closure(5000 + step, 11 + step))
    robot.wait(lambda: robot.status["graph"]["on_the_map"] == "True", "the map to be joined")
    robot.wait(lambda: problem("odom", "closures hold") and transforms, "map -> odom")
    at = transforms[-1].transforms[0].transform.translation
    assert math.dist((at.x, at.y), (x0, y0)) < 0.5

    robot.wait(lambda: problem("map", "both in frame 'map'"), "the frame to be refused")
    robot.wait(lambda: problem("wheels", "the keyframes are in 'odom'"), "the frame to be refused")
    robot.wait(lambda: problem("odom", "closures hold"), "all to be well again")
    keyframes.publish(keyframe(5003, 99.0))
    robot.told("jumped or started anew")
    robot.wait(lambda: problem("odom", "not on the map yet"), "a report")


def test_without_gtsam_the_node_says_so_in_one_line():
    code = (
        "import sys; sys.modules['gtsam'] = None; from vpr_ros.nodes.start import graph; graph()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode and len(done.stderr.splitlines()) == 1
    assert "pip install" in done.stderr


def test_a_graph_that_cannot_be_read_is_never_replaced(robot, tmp_path):
    damaged = "vpr_ros pose graph 1\nkeyframe 1 2\n"
    (tmp_path / "office.vprgraph").write_text(damaged)
    robot.start("graph", map=str(tmp_path / "office.vprmap"))
    keyframes = robot.publisher(Keyframe, "keyframes", 100)
    keyframes.publish(keyframe(1, 0.0))
    robot.wait(lambda: robot.status["graph"]["keyframes"] == "1", "the keyframe")
    assert robot.status["graph"]["level"] == b"\1"
    assert robot.end("graph") == 0
    assert (tmp_path / "office.vprgraph").read_text() == damaged


def test_all_that_is_known_is_saved_but_over_nobody_elses_graph(tmp_path, monkeypatch):
    with nodes_here(f"map:={tmp_path}/office"):
        node, sent = GraphNode(), []
        node._ending.set()  # the thread, whose work is done here
        node._worker.join()
        (few,) = node.set_parameters([Parameter("graph.max_speed", value=50.0)])
        for index in range(82):
            x, y = round_the_circle(index % 40)
            node._on_keyframe(keyframe(index + 1, x, y + index / 100))
        assert few.successful and node._graph.config.max_speed == 50.0
        for match in (1, 2, 3):
            node._on_closure(closure(40 + match, match))
        node._save()
        node._wake.clear()
        monkeypatch.setattr(node._tf_publisher, "publish", sent.append)
        node._on_odometry(odometry(0, Time(sec=1)))
        node._correct()
        node._on_tf(*sent)
        assert abs(node._map_odom.y) > 0.01 and not node._other, "ours, late"
        node.finish()
        path = tmp_path / "office.vprgraph"
        assert [c.accepted for c in read_graph(path).closures] == [True] * 3
        text = path.read_text() + "# of another node\n"
        path.write_text(text)
        node._on_keyframe(keyframe(83, 0.0))
        node._save()
        assert "by another program" in node.problems.last and path.read_text() == text
        path.write_text(text.removesuffix("# of another node\n"))  # as it was, at another time
        node._save()
        assert len(read_graph(path).keyframes) == 83
        node.destroy_node()


def test_who_publishes_the_transform_and_what_is_missing(robot):
    other = TransformStamped(child_frame_id="odom")
    other.header.frame_id, other.transform.translation.x = "map", 5.0
    transforms = robot.node.create_publisher(TFMessage, "/tf", 10)
    timer = robot.node.create_timer(0.1, lambda: transforms.publish(TFMessage(transforms=[other])))
    # Beside AMCL or slam_toolbox the transform is theirs.
    file = FilePath(__file__).parents[2] / "config" / "navigation.yaml"
    robot.start("graph", file)
    assert robot.get("graph", "publish_tf") is False
    odometer = robot.publisher(Odometry, "odom")
    heard = robot.listen(TFMessage, "/tf")
    for x in range(20):
        odometer.publish(odometry(x, robot.stamp()))
        robot.spin(0.1)
    robot.wait(lambda: len(heard) > 10, "the other's transforms")
    assert all(m.transforms == [other] for m in heard)
    assert not any("Somebody else" in line for line in robot.logs)
    robot.start("relocalizer", file)
    assert robot.get("relocalizer", "relocalization.min_agreeing") == 3
    assert not any("does not exist and is ignored" in line for line in robot.logs)
    assert robot.end("graph") == robot.end("relocalizer") == 0
    robot.start("graph")
    robot.wait(lambda: "Somebody else" in robot.status["graph"]["message"], "a warning")
    assert len(robot.told("Somebody else")) == 1
    timer.cancel()
    robot.start("relocalizer", map="/none/there.vprmap")
    keyframes = robot.publisher(Keyframe, "keyframes", 100)
    robot.wait(lambda: keyframes.get_subscription_count() == 2, "both nodes")
    keyframes.publish(keyframe(1, 0.0, pose=False))
    robot.wait(lambda: robot.status["graph"]["keyframes_without_pose"] == "1", "a report")
    robot.wait(lambda: "carry no pose" in robot.status["graph"]["message"], "what is amiss now")
    assert robot.status["graph"]["level"] == b"\1"
    assert "no keyframe with a pose" in robot.status["relocalizer"]["message"]
    assert robot.status["relocalizer"]["level"] == b"\1"
