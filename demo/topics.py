# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the nodes publish: topics, and their types without ROS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

NODES = ("encoder", "database", "graph")
NEXT_DAY = ("encoder", "database", "relocalizer")  # of the second run
CLOSURES, QUERIES = "/vpr/loop_closures", "/vpr/queries"
KEYFRAMES, DIAGNOSTICS = "/vpr/keyframes", "/diagnostics"
LOCALIZATION = "/vpr/localization"
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


def node_of(status_name: str) -> str:
    """The short name of the node that sent a DiagnosticStatus of this name."""
    return status_name.removeprefix("vpr/").removesuffix(": vpr")
