# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The bridges, against processes that have the published interfaces of rtabmap and Hydra."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion

from tools.setup_workspace import ROOT, colcon, write_interfaces
from vpr_msgs.msg import LoopClosure
from vpr_ros.nodes.conversions import to_time

# The fields that the other sides publish, by name and type; nothing else of theirs is here.
EDGE = "std_msgs/Header header\nuint64 key_from\nuint64 key_to\nint32 robot_from\nint32 robot_to\n"
INTERFACES = {
    "rtabmap_msgs": {
        "msg/Info.msg": "std_msgs/Header header\nint32 ref_id\n",
        "msg/Link.msg": "int32 from_id\nint32 to_id\nint32 type\n"
        "geometry_msgs/Transform transform\nfloat64[36] information\n",
        "srv/AddLink.srv": "Link link\n---\n",
    },
    "pose_graph_tools_msgs": {
        "msg/PoseGraphEdge.msg": EDGE + "int32 type\nint32 LOOPCLOSE=1\ngeometry_msgs/Pose pose\n"
        "float64[36] covariance\n",
        "msg/PoseGraph.msg": "std_msgs/Header header\nPoseGraphEdge[] edges\n",
    },
}
SECOND = 10**9
STAND_IN = """
import json, rclpy
from pose_graph_tools_msgs.msg import PoseGraph
from rclpy.node import Node
from rtabmap_msgs.msg import Info
from rtabmap_msgs.srv import AddLink
rclpy.init()
node, sent = Node("stand_in", namespace="vpr"), []

def add(request, response):
    link = request.link
    print(json.dumps(["link", link.from_id, link.to_id, link.type, link.transform.rotation.z,
                      list(link.information)]), flush=True)
    return response

def see(graph):
    e = graph.edges[0]
    print(json.dumps(["edge", e.key_from, e.key_to, e.robot_from, e.robot_to, e.type,
                      e.pose.orientation.z, list(e.covariance)]), flush=True)

def tell():
    if info.get_subscription_count() and len(sent) < 30:  # a node a second, from second 100 on
        sent.append(Info(ref_id=len(sent) + 1))
        sent[-1].header.stamp.sec = 99 + len(sent)
        info.publish(sent[-1])

info = node.create_publisher(Info, "info", 50)
node.create_service(AddLink, "add_link", add)
node.create_subscription(PoseGraph, "external_loop_closures", see, 50)
node.create_timer(0.02, tell)
rclpy.spin(node)
"""


@pytest.fixture(scope="module")
def interfaces():
    """The environment of processes that know both packages; built once."""
    digest = hashlib.sha256(repr(INTERFACES).encode()).hexdigest()
    base = ROOT / "build" / "stand_ins"
    installed, built = base / "install", base / "built"
    if not built.is_file() or built.read_text() != digest:
        sources = [write_interfaces(name, files) for name, files in INTERFACES.items()]
        folders = ["--build-base", base / "build", "--install-base", installed]
        colcon("--base-paths", *sources, *folders)
        built.write_text(digest)
    homes = [installed / name for name in INTERFACES]
    site = f"lib/python3.{sys.version_info.minor}/site-packages"
    added = {
        "AMENT_PREFIX_PATH": homes,
        "LD_LIBRARY_PATH": [home / "lib" for home in homes],
        "PYTHONPATH": [home / site for home in homes],
    }
    return {k: ":".join([*map(str, new), os.environ.get(k, "")]) for k, new in added.items()}


def closure(query_s, match_s):
    """A closure whose query looks 90 degrees to the left of its match."""
    message = LoopClosure(query_id=2, match_id=1, match_stamp=to_time(round(match_s * SECOND)))
    message.header.stamp = to_time(round(query_s * SECOND))
    half = float(np.sqrt(0.5))  # the image's y axis points down
    message.has_relative_pose, message.rotation = True, Quaternion(y=-half, w=half)
    return message


@pytest.mark.timeout(300)
@pytest.mark.parametrize("to", ["rtabmap", "hydra"])
def test_closures_reach_the_other_side(robot, interfaces, monkeypatch, tmp_path, to):
    for name, value in interfaces.items():
        monkeypatch.setenv(name, value)
    environment = dict(os.environ, ROS_DOMAIN_ID=str(robot.domain))
    environment.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)
    heard = tmp_path / "heard"
    with heard.open("w") as out:
        stand_in = subprocess.Popen([sys.executable, "-c", STAND_IN], stdout=out, env=environment)
    try:
        robot.start("bridge", to=to, robot_id=3)
        closures = robot.publisher(LoopClosure, "loop_closures")
        robot.wait(lambda: robot.status["bridge"]["level"] == b"\0", "the other side")
        robot.spin(1.0)
        for query_s, match_s in ((128.2, 104.9), (128.3, 105.1), (128.0, 42.0)):
            closures.publish(closure(query_s, match_s))
        sent = {"rtabmap": ("1", "1"), "hydra": ("3", "0")}[to]
        robot.wait(
            lambda: (robot.status["bridge"]["sent"], robot.status["bridge"]["dropped"]) == sent,
            "the closures to be passed on",
        )
        robot.wait(heard.read_text, "what was heard")
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
