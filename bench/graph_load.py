# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the graph node costs when the graph is large, and what it adds to map -> odom.

python -m bench.graph_load            # 1,000 and 10,000 keyframes

Rounds of a circle with odometry that drifts. The update is timed alone. Then the real node gets
keyframes, closures, and odometry at 50 Hz, beside a node that publishes the
transform for the same odometry and does nothing else; each message is timed in both.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry, Path
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rich.console import Console
from rich.table import Table
from tf2_msgs.msg import TFMessage

from bench.nodes import begin, end
from demo.drive import drifting
from tools.dds_domain import free_domain
from vpr_msgs.msg import Keyframe, LoopClosure
from vpr_ros.core.pose import Pose
from vpr_ros.mapping.graph_correction import correct
from vpr_ros.mapping.pose_graph import Correction, PoseGraph
from vpr_ros.nodes.conversions import from_pose, to_time

ROUND = 100  # keyframes, half a metre apart
UPDATES, RATE_HZ, SECONDS = 40, 50, 20
BARE = "bare"  # frame of the node that does nothing else


def circle(count: int) -> list[Pose]:
    """Odometry of keyframes on a circle, round after round."""
    step, poses = Pose.planar(0.5, 0.0, math.tau / ROUND), [Pose.planar(0.0, 0.0, 0.0)]
    while len(poses) < count:
        poses.append(poses[-1].compose(step))
    return drifting(poses, seed=0, bias_deg=0.1)


def update_ms(count: int) -> list[float]:
    """Times of the last updates of a graph; every third keyframe closes a loop."""
    graph, result, times = PoseGraph(), Correction.none(), []
    for k, pose in enumerate(circle(count)):
        graph.add_keyframe(k + 1, k * 10**9, pose, "odom")
        if k < ROUND or k % 3:
            continue
        graph.add_closure(k + 1, k + 1 - ROUND, Pose.planar(0.0, 0.0, 0.0))
        if k % ROUND < 3 or k > count - 3 * UPDATES:
            started = time.perf_counter()
            result = correct(*graph.snapshot(), graph.config, result)
            times.append((time.perf_counter() - started) * 1e3)
    return times[-UPDATES:]


class Robot(Node):
    """Feeds the graph node, and times what comes back."""

    def __init__(self) -> None:
        super().__init__("bench", namespace="vpr")
        self.delays_ms: dict[str, list[float]] = {"odom": [], BARE: []}
        self.status: dict[str, str] = {}
        self._odometry = self.create_publisher(Odometry, "odom", qos_profile_sensor_data)
        self._keyframes = self.create_publisher(Keyframe, "keyframes", 2000)
        self._closures = self.create_publisher(LoopClosure, "loop_closures", 2000)
        self.create_subscription(TFMessage, "/tf", self._on_tf, 100)
        self.create_subscription(Path, "path", lambda _: None, 1, raw=True)  # as RViz
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def spin(self, seconds: float) -> None:
        """Let time pass."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self, timeout_sec=left)

    def keyframe(self, k: int, pose: Pose, closes: bool) -> None:
        """Publish a keyframe, and a closure with the round before."""
        message = Keyframe(id=k + 1, model="m", has_pose=True, pose_frame="odom")
        message.descriptor = [1.0]
        message.header.stamp, message.pose = to_time(k * 10**9), from_pose(pose)
        self._keyframes.publish(message)
        if closes:
            closure = LoopClosure(query_id=k + 1, match_id=k + 1 - ROUND, has_relative_pose=True)
            self._closures.publish(closure)

    def odometry(self) -> None:
        """Publish an odometry message, which says when."""
        message = Odometry()
        message.header.frame_id = "odom"
        message.header.stamp = to_time(time.time_ns())
        self._odometry.publish(message)

    def _on_tf(self, message: TFMessage) -> None:
        transform = message.transforms[0]
        stamp = transform.header.stamp
        late_ns = time.time_ns() - stamp.sec * 10**9 - stamp.nanosec
        self.delays_ms[transform.child_frame_id].append(late_ns / 1e6)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.status = {v.key: v.value for v in status.values}


def bare() -> None:
    """The node to compare with: the same transform for each odometry message."""
    rclpy.init()
    node = Node("bare", namespace="vpr")
    publisher = node.create_publisher(TFMessage, "/tf", 100)

    def answer(message: Odometry) -> None:
        transform = TransformStamped(child_frame_id=BARE)
        transform.header.stamp = message.header.stamp
        publisher.publish(TFMessage(transforms=[transform]))

    node.create_subscription(Odometry, "odom", answer, qos_profile_sensor_data)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        while rclpy.ok():  # rclpy.spin() may miss the signal: see examples/print_closures.py
            rclpy.spin_once(node, timeout_sec=1.0)


def live(count: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """(delays [ms] of the transforms, by frame; the node's status) at about `count` keyframes."""
    domain, holder = free_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    start = "from vpr_ros.nodes.start import graph; graph()"
    others = [
        begin(code, "--ros-args", "-r", "__ns:=/vpr")
        for code in (start, "from bench.graph_load import bare; bare()")
    ]
    rclpy.init()
    try:
        robot, poses = Robot(), circle(count + 5 * SECONDS)
        while not robot.status or robot.count_publishers("/tf") < 2:
            robot.spin(0.2)
        for k, pose in enumerate(poses[:count]):
            robot.keyframe(k, pose, k >= ROUND and k % 3 == 0)
            robot.spin(0.004)
        known = -1
        while known < int(robot.status["keyframes"]):  # on a busy machine some are lost
            known = int(robot.status["keyframes"])
            robot.spin(3.0)
        robot.delays_ms = {"odom": [], BARE: []}
        for tick in range(SECONDS * RATE_HZ):
            if tick % (RATE_HZ // 5) == 0:  # keyframes at 5 Hz, each one closes a loop
                k = count + tick // (RATE_HZ // 5)
                robot.keyframe(k, poses[k], True)
            robot.odometry()
            robot.spin(1 / RATE_HZ)
        robot.spin(1.5)
        return robot.delays_ms, robot.status
    finally:
        end(others)
        holder.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keyframes", type=int, nargs="+", default=[1000, 10_000])
    table = Table(title="ms")
    for heading in ("keyframes", "", "p50", "p95", "p99"):
        table.add_column(heading, justify="right" if heading.startswith("p") else "left")
    for count in parser.parse_args().keyframes:
        delays, status = live(count)
        rows = {
            f"{what} ({len(values)})": np.percentile(values, (50, 95, 99))
            for what, values in (
                ("update, alone", update_ms(count)),
                ("map -> odom, graph", delays["odom"]),
                ("map -> odom, a node that does nothing else", delays[BARE]),
            )
        }
        _, ours, other = rows.values()
        for what, found in {**rows, "map -> odom, added by the graph": ours - other}.items():
            table.add_row(f"{count:,}", what, *(f"{v:.2f}" for v in found))
        p50, p95 = (float(status[f"correction_{p}_ms"]) for p in ("p50", "p95"))
        table.add_row(f"{count:,}", "update in the node", f"{p50:.0f}", f"{p95:.0f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
