# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records what the nodes publish, until it is interrupted: `python -m demo.record OUT_DIR`.

Prints READY once each node has reported, then the nodes' state whenever it changes.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterEvent
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from visualization_msgs.msg import Marker

from demo.topics import (
    CLOSURES,
    DIAGNOSTICS,
    KEYFRAMES,
    MARKERS,
    NODES,
    PARAMETERS,
    QUERIES,
    READY,
    node_of,
    typestore,
)
from vpr_msgs.msg import Keyframe, LoopClosure, Query

KINDS = {
    CLOSURES: LoopClosure,
    QUERIES: Query,
    KEYFRAMES: Keyframe,
    MARKERS: Marker,
    DIAGNOSTICS: DiagnosticArray,
    PARAMETERS: ParameterEvent,
}


class Watch:
    """Prints what the nodes' diagnostics say of themselves, when it changes."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def see(self, raw: bytes) -> None:
        """One message of DIAGNOSTICS."""
        for status in deserialize_message(raw, DiagnosticArray).status:
            name = node_of(status.name)
            if name not in NODES or self._said.get(name) == status.message:
                continue
            before = len(self._said)
            self._said[name] = status.message
            print(f"{name}: {status.message}", flush=True)
            if before < len(self._said) == len(NODES):
                print(READY, flush=True)


def record(writer: Writer, node: Node) -> None:
    """Subscribe to everything; each message is written with the time of its arrival."""
    store, watch = typestore(), Watch()

    def listen(topic: str, kind: type) -> None:
        name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        connection = writer.add_connection(topic, name, typestore=store)
        also: Callable[[bytes], None] = watch.see if topic == DIAGNOSTICS else lambda raw: None

        def write(raw: bytes) -> None:
            writer.write(connection, time.time_ns(), raw)
            also(raw)

        node.create_subscription(kind, topic, write, QoSProfile(depth=1000), raw=True)

    for topic, kind in KINDS.items():
        listen(topic, kind)


def main() -> None:
    """Run the command."""
    folder = Path(sys.argv[1])
    rclpy.init()
    node = Node("recorder")
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        record(writer, node)
        with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
            rclpy.spin(node)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
