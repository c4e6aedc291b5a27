# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the nodes add: two processes over DDS, 640x480 raw images at 5 Hz, each one a closure.

python -m bench.nodes    the memory of the nodes: in processes of their own, in one, and inactive
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from demo.processes import end_with_parent
from tools.dds_domain import FAREWELL_S, free_domain, send_raw_images
from vpr_msgs.msg import LoopClosure
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.frontend import Frame, Frontend
from vpr_ros.core.gate import GateConfig, KeyframeGate
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model
from vpr_ros.core.pose import Pose
from vpr_ros.nodes.image_input import ImageDecoder

PLACES = 30
LAPS = 8  # the diagnostics look at the last 200 answers: laps 2 to 7 and some of lap 1
RATE_HZ = 5.0

Cells = tuple[str, str, str]  # p50, p95, unit


def drive(features: int) -> dict[str, Cells]:
    """Latency beyond the encoder's own time, and CPU time over that of the work itself."""
    domain, holder = free_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    pictures = [picture(number) for number in range(PLACES)]
    common = ["gate.distance_m:=0.1", f"features.count:={features}"]
    loop = ["loop.score_threshold:=0.9"]
    loop += [] if features else ["loop.verified_candidates:=0"]
    recent = ["database.exclude_recent_s:=1.0"]
    nodes = [
        _run("encoder", parameters=common, level="warn"),
        _run("database", parameters=loop + recent, level="warn"),
    ]
    send_raw_images()
    rclpy.init()
    try:
        robot = _Robot()
        robot.lap(pictures, 0)
        robot.lap(pictures, 1)  # everything is warm
        before = robot.encoder_status()
        for lap in range(2, LAPS):
            robot.lap(pictures, lap)
        after = robot.encoder_status()
        latencies = [s for lap, s in robot.latencies if lap >= 2]
        published = robot.database_latency_ms
        encode_ms = [ms for ms in robot.encode_ms if ms > 0]
    finally:
        end(nodes)
        holder.close()
    encode = float(np.median(encode_ms))
    p50, p95 = np.percentile(latencies, (50, 95)) * 1e3
    frames = after["encoded"] - before["encoded"]
    cpu = (after["cpu_s"] - before["cpu_s"]) / frames
    work = _work_cpu(pictures, features)
    return {
        f"image stamp to closure ({len(latencies)} closures)": (f"{p50:.1f}", f"{p95:.1f}", "ms"),
        "  of it the encoder's own time": (f"{encode:.1f}", "", "ms"),
        "  node overhead, to closure published": (f"{published - encode:.1f}", "", "ms"),
        "  node overhead, to closure received": (
            f"{p50 - encode:.1f}",
            f"{p95 - encode:.1f}",
            "ms",
        ),
        "encoder's CPU per frame": (f"{1e3 * cpu:.1f}", "", "ms"),
        "  over the work alone": (f"{cpu / work:.2f}", "", "ratio"),
    }


ALL = ("encoder", "database", "graph", "relocalizer")


def memory(names: tuple[str, ...], single: bool) -> tuple[dict[str, float], float]:
    """Memory [MB] after two laps, by process, and the latency [ms] from image to answer.

    A page that several processes share counts by the share of each.
    """
    domain, holder = free_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    if single:
        processes = {"one process": _run("nodes", names)}
    else:
        processes = {name: _run(name) for name in names}
    rclpy.init()
    try:
        robot = _Robot()
        for lap in range(2):
            robot.lap([picture(number) for number in range(PLACES)], lap)
        found = {name: _pss_mb(process.pid) for name, process in processes.items()}
        return found, robot.database_latency_ms
    finally:
        end(processes.values())
        holder.close()


def inactive_memory(name: str) -> list[tuple[str, float]]:
    """Memory [MB] of a managed node, state after state."""
    domain, holder = free_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    process = _run(name, ["--lifecycle"])
    rclpy.init()
    found = []
    try:
        node = rclpy.create_node("manager", namespace="vpr")
        client = node.create_client(ChangeState, f"{name}/change_state")
        client.wait_for_service()
        cycle = [Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE] * 3
        for step in (Transition.TRANSITION_CONFIGURE, *cycle):
            request = ChangeState.Request(transition=Transition(id=step))
            answer = client.call_async(request)
            rclpy.spin_until_future_complete(node, answer)
            assert answer.result().success
            time.sleep(2.0)
            state = "active" if step == Transition.TRANSITION_ACTIVATE else "inactive"
            found.append((state, _pss_mb(process.pid)))
        return found
    finally:
        end([process])
        holder.close()


def _run(
    name: str, words: Sequence[str] = (), parameters: Sequence[str] = (), level: str = "error"
) -> subprocess.Popen[bytes]:
    ros = ["--ros-args", "-r", "__ns:=/vpr", "--log-level", level]
    for parameter in parameters:
        ros += ["-p", parameter]
    return begin(f"from vpr_ros.nodes.start import {name}; {name}()", *words, *ros)


def begin(code: str, *words: str) -> subprocess.Popen[bytes]:
    """Run Python code in a process that ends with this one."""
    return subprocess.Popen([sys.executable, "-c", f"{end_with_parent()}; {code}", *words])


def end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """End nodes, and ROS in this process."""
    rclpy.shutdown()
    for process in processes:
        process.terminate()
        process.wait(20)
    time.sleep(FAREWELL_S)


def _pss_mb(pid: int) -> float:
    """Memory of a process and its children; shared pages count by each process's share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = float(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) * 1024 / 1e6  # type: ignore[index]
    children = (file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children"))
    return own + sum(_pss_mb(int(child)) for found in children for child in found)


class _Robot(Node):
    """Publishes images and odometry; receives closures and diagnostics."""

    def __init__(self) -> None:
        super().__init__("bench", namespace="vpr")
        self.latencies: list[tuple[int, float]] = []
        self.encode_ms: list[float] = []
        self.database_latency_ms = 0.0
        self._status: dict[str, str] = {}
        self._reported = 0
        self._camera = self.create_publisher(Image, "image", qos_profile_sensor_data)
        self._odometry = self.create_publisher(Odometry, "odom", 50)
        self._lap = 0
        self.create_subscription(LoopClosure, "loop_closures", self._on_closure, 50)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        while not (self._camera.get_subscription_count() and self.count_publishers("queries")):
            rclpy.spin_once(self, timeout_sec=0.1)
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            rclpy.spin_once(self, timeout_sec=0.1)

    def lap(self, pictures: list[np.ndarray], lap: int) -> None:
        """Drive past every place once, in real time."""
        self._lap = lap
        for number, picture in enumerate(pictures):
            due = time.monotonic() + 1.0 / RATE_HZ
            odometry = Odometry()
            odometry.header.stamp = self.get_clock().now().to_msg()
            odometry.header.frame_id = "odom"
            angle = 2 * np.pi * number / len(pictures)  # a circle, a metre from place to place
            radius_m = len(pictures) / (2 * np.pi)
            at, turn = odometry.pose.pose.position, odometry.pose.pose.orientation
            at.x, at.y = radius_m * np.cos(angle), radius_m * np.sin(angle)
            turn.z, turn.w = np.sin(angle / 2 + np.pi / 4), np.cos(angle / 2 + np.pi / 4)
            self._odometry.publish(odometry)
            message = Image(height=480, width=640, encoding="bgr8", step=1920)
            message.data = picture.tobytes()
            message.header.stamp = self.get_clock().now().to_msg()
            self._camera.publish(message)
            while time.monotonic() < due:
                rclpy.spin_once(self, timeout_sec=max(0.0, due - time.monotonic()))

    def encoder_status(self) -> dict[str, float]:
        """The encoder's next diagnostics."""
        seen = self._reported
        while self._reported == seen:
            rclpy.spin_once(self, timeout_sec=0.1)
        return {key: float(self._status[key]) for key in ("cpu_s", "encoded")}

    def _on_closure(self, message: LoopClosure) -> None:
        now = self.get_clock().now().nanoseconds
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        self.latencies.append((self._lap, (now - stamp) * 1e-9))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if "database" in status.name:
                self.database_latency_ms = float(values["latency_p50_ms"])
            if "encoder" in status.name:
                self._status = values
                self._reported += 1
                self.encode_ms.append(float(self._status["encode_ms"]))


def _work_cpu(pictures: list[np.ndarray], features: int) -> float:
    """CPU time per frame [s] of decoding, encoding and feature extraction, in this process."""
    frontend = Frontend(
        Encoder(find_model(DEFAULT_MODEL), threads=1),
        KeyframeGate(GateConfig(distance_m=0.1)),
        FeatureExtractor(FeatureConfig(count=features)),
    )
    decoder = ImageDecoder()
    messages = [
        Image(height=480, width=640, encoding="bgr8", step=1920, data=picture.tobytes())
        for picture in pictures
    ]
    cpu = 0.0
    for number in range(-5, len(messages)):  # the first ones warm up
        message = messages[number]
        time.sleep(1.0 / RATE_HZ - 0.03)  # caches as cold as in the node
        started = time.process_time()
        frame = Frame(
            stamp_ns=(number + 10) * 200_000_000,
            decode=lambda message=message: decoder.decode(message),
            pose=Pose.planar(float(number), 0.0, 0.0),
        )
        assert frontend.process(frame, 0.0) is not None
        cpu += time.process_time() - started if number >= 0 else 0.0
    return cpu / len(messages)


def picture(number: int) -> np.ndarray:
    """A picture (480, 640, 3) full of corners, unlike every other number's."""
    random = np.random.default_rng(number)
    picture = np.full((480, 640, 3), random.integers(0, 255, 3), np.uint8)
    for _ in range(80):
        colour = random.integers(0, 255, 3).tolist()
        x, y, width, height = random.integers((0, 0, 10, 10), (620, 460, 200, 150)).tolist()
        cv2.rectangle(picture, (x, y), (x + width, y + height), colour, -1)
    return picture


def main() -> None:
    """Print the memory of the nodes."""
    for names in (ALL[:2], ALL):
        for single in (False, True):
            found, latency_ms = memory(names, single)
            each = ", ".join(f"{name} {megabytes:.0f}" for name, megabytes in found.items())
            total = sum(found.values())
            print(f"{len(names)} nodes: {total:.0f} MB ({each}), {latency_ms:.0f} ms", flush=True)
    for state, megabytes in inactive_memory("encoder"):
        print(f"encoder {state}: {megabytes:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
