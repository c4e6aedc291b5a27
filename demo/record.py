# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records what the nodes publish, until interrupted: `python -m demo.record OUT_DIR NODE...`.

Prints READY once each of the nodes has reported, and a node's state whenever it changes.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import StoragePlugin, Writer

from demo.topics import DIAGNOSTICS, PUBLISHED, READY, connections, node_of


class Recorder(Node):
    """Writes each message with the time of its arrival."""

    def __init__(self, writer: Writer, nodes: list[str]) -> None:
        super().__init__("recorder")
        self._writer = writer
        self._nodes = nodes
        self._said: dict[str, str] = {}
        for topic, connection in connections(writer, PUBLISHED).items():

            def write(raw: bytes, topic: str = topic, connection: object = connection) -> None:
                self._writer.write(connection, time.time_ns(), raw)
                if topic == DIAGNOSTICS:
                    self._tell(raw)

            depth = QoSProfile(depth=1000)
            self.create_subscription(PUBLISHED[topic], topic, write, depth, raw=True)

    def _tell(self, raw: bytes) -> None:
        for status in deserialize_message(raw, DiagnosticArray).status:
            name = node_of(status.name)
            if name not in self._nodes or self._said.get(name) == status.message:
                continue
            before = len(self._said)
            self._said[name] = status.message
            print(f"{name}: {status.message}", flush=True)
            if before < len(self._said) == len(self._nodes):
                print(READY, flush=True)


def main() -> None:
    """Run the command."""
    folder = Path(sys.argv[1])
    rclpy.init()
    with (
        Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
        contextlib.suppress(KeyboardInterrupt, ExternalShutdownException),
    ):
        rclpy.spin(Recorder(writer, sys.argv[2:]))
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
