# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A process that has the published interfaces of rtabmap and Hydra, for the node bridge."""

import hashlib
import os
import subprocess
import sys

from demo.processes import end_with_parent
from tools.dds_domain import PROFILE
from tools.setup_workspace import ROOT, colcon, write_interfaces

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
SCRIPT = """
import json, sys, rclpy
from bench.hostile import Hostile
from pose_graph_tools_msgs.msg import PoseGraph
from rclpy.node import Node
from rtabmap_msgs.msg import Info
from rtabmap_msgs.srv import AddLink
rclpy.init()
node, sent, hostile, bad = Node("stand_in", namespace="vpr"), [], Hostile(0), int(sys.argv[1])

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
    if not info.get_subscription_count() or len(sent) == bad + 30:
        return
    number = len(sent) + 1 - bad
    sent.append(Info(ref_id=max(1, number)))
    sent[-1].header.stamp.sec = 99 + number if number > 0 else node.get_clock().now().to_msg().sec
    if number < 1:  # after the hostile ones a node a second, from second 100 on
        hostile.spoil(sent[-1], 2)
    info.publish(sent[-1])

info = node.create_publisher(Info, "info", 50)
node.create_service(AddLink, "add_link", add)
node.create_subscription(PoseGraph, "external_loop_closures", see, 50)
node.create_timer(0.02, tell)
rclpy.spin(node)
"""


def environment():
    """What processes need to know both packages; these are built once."""
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


def start(robot, hostile, heard=None):
    """Start the process in the environment; it sends `hostile` wrong nodes before 30 right ones.

    What it hears is written to the file `heard`, a line of JSON each.
    """
    variables = dict(os.environ, ROS_DOMAIN_ID=str(robot.domain))
    variables.pop(PROFILE, None)
    command = [sys.executable, "-c", end_with_parent() + SCRIPT, str(hostile)]
    return subprocess.Popen(command, stdout=heard, env=variables)
