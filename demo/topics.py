# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the robot sends and what the nodes publish: topics and their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from sensor_msgs.msg import BatteryState, CameraInfo, CompressedImage

from vpr_msgs.msg import Keyframe, Localization, LoopClosure, Query

IMAGE, INFO = "/camera/image_raw/compressed", "/camera/camera_info"
ODOM, BATTERY = "/odom", "/battery_state"  # the exact pose
WHEELS = "/wheel_odom"  # odometry that drifts, as the nodes get it
SENT = {
    IMAGE: CompressedImage,
    INFO: CameraInfo,
    ODOM: Odometry,
    WHEELS: Odometry,
    BATTERY: BatteryState,
}
NODES = ("encoder", "database", "graph")
NEXT_DAY = ("encoder", "database", "relocalizer")  # of the second run
CLOSURES, QUERIES = "/vpr/loop_closures", "/vpr/queries"
KEYFRAMES, DIAGNOSTICS = "/vpr/keyframes", "/diagnostics"
LOCALIZATION = "/vpr/localization"
PUBLISHED = {
    CLOSURES: LoopClosure,
    QUERIES: Query,
    KEYFRAMES: Keyframe,
    LOCALIZATION: Localization,
    DIAGNOSTICS: DiagnosticArray,
}
INJECTED = "injected"  # frame of the closures that `--wrong` asks for
# What the recorder and the player print, for the demo to follow them.
READY, PLAYED = "ready", "played "
DEFINITIONS = Path(__file__).resolve().parent.parent / "vpr_msgs" / "msg"


def typestore() -> Typestore:
    """The types of ROS 2 Jazzy and this package's own."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for file in sorted(DEFINITIONS.glob("*.msg")):
        types |= get_types_from_msg(file.read_text(), f"vpr_msgs/msg/{file.stem}")
    store.register(types)
    return store


def connections(writer: Writer, kinds: dict[str, type]) -> dict[str, Connection]:
    """Announce topics in a bag; returns what its writer wants with each message."""
    store = typestore()
    names = {t: f"{k.__module__.split('.')[0]}/msg/{k.__name__}" for t, k in kinds.items()}
    return {t: writer.add_connection(t, name, typestore=store) for t, name in names.items()}


def node_of(status_name: str) -> str:
    """The short name of the node that sent a DiagnosticStatus of this name."""
    return status_name.removeprefix("vpr/").removesuffix(": vpr")
