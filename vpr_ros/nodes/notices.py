# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is amiss with the inputs: said once in the terminal, again seldom, and in the status."""

from __future__ import annotations

import math
import time
from typing import Any

from rclpy.clock import Clock, ClockType

from vpr_ros.nodes.diagnostics import THROTTLE_S
from vpr_ros.nodes.guarded_node import GuardedNode

PATIENCE_S = 3.0  # publishers and clocks take this long to be found
REPEAT_S = 60.0
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
SHOWN = 5  # topics in a message

# Inputs of the encoder and the arguments of the launch file that name their topics.
ARGUMENTS = {
    "image": "image",
    "image/compressed": "image",
    "odom": "odom",
    "camera_info": "camera_info",
    "battery_state": "battery",
}


class Notices:
    """States that last, by kind, unlike problems, which happen."""

    def __init__(self, node: GuardedNode) -> None:
        self._logger = node.get_logger()
        self._logged: dict[str, float] = {}
        self._current: dict[str, tuple[str, float]] = {}  # and until when

    @property
    def current(self) -> str:
        """All of the states; empty if all is well."""
        return " ".join(dict.fromkeys(filter(None, map(self.about, list(self._current)))))

    def about(self, kind: str) -> str:
        """The state of a kind; empty if all is well."""
        text, until = self._current.get(kind, ("", 0.0))
        return text if time.monotonic() < until else ""

    def say(self, kind: str, text: str, for_s: float = math.inf) -> None:
        """Log a state at once, then seldom while it lasts; an empty text ends it.

        So does `for_s` without a repetition: who complains of messages hears no end of them.
        """
        lasts = kind in self._current
        if not text:
            self._current.pop(kind, None)
            return
        now = time.monotonic()
        self._current[kind] = text, now + for_s
        # One that comes and goes with every image or so is seldom said, too.
        if now - self._logged.get(kind, -math.inf) >= (REPEAT_S if lasts else THROTTLE_S):
            self._logged[kind] = now
            self._logger.warning(text)


class TopicWatch:
    """Looks at who publishes the inputs: a topic of another type stays silent for ever."""

    def __init__(self, node: GuardedNode, notices: Notices, inputs: dict[str, Any]) -> None:
        """`inputs` gives the message class of each of the names in ARGUMENTS."""
        self._node = node
        self._notices = notices
        self._types = {name: type_name(kind) for name, kind in inputs.items()}
        self._began = time.monotonic()
        node.create_timer(1.0, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self) -> None:
        if time.monotonic() - self._began < PATIENCE_S:
            return
        for name, wanted in self._types.items():
            self._notices.say(name, self._fault(name, wanted))
        stopped = self._node.get_clock().now().nanoseconds == 0
        self._notices.say(
            "clock",
            "use_sim_time is set but nothing publishes /clock, so time stands still. Play the bag "
            "with --clock, or start without use_sim_time."
            if stopped
            else "",
        )

    def _fault(self, name: str, wanted: str) -> str:
        topic = self._node.resolve_topic_name(name)
        types = {p.topic_type for p in self._node.get_publishers_info_by_topic(topic)}
        if not types or wanted in types:
            return ""
        argument = ARGUMENTS[name]
        text = f"{topic} carries {sorted(types)[0]}, not {wanted}."
        if self._types.get("image/compressed") in types:
            return f"{text} Give the launch argument image without /compressed."
        return f"{text} Give another topic: launch argument {argument}:=..."


def silence(node: GuardedNode) -> str:
    """What to do if no image topic has a publisher."""
    raw = node.resolve_topic_name("image")
    found = sorted(
        topic.removesuffix("/compressed")
        for topic, types in node.get_topic_names_and_types()
        if any(kind in types for kind in IMAGE_TYPES) and "depth" not in topic.lower()
    )
    ours = raw, node.resolve_topic_name("closure_image")
    others = [topic for topic in dict.fromkeys(found) if topic not in ours]
    hint = (
        f" There are {', '.join(others[:SHOWN])}{' and others' * (len(others) > SHOWN)}."
        if others
        else ""
    )
    return (
        f"neither {raw} nor {raw}/compressed has a publisher.{hint} Give the camera's topic: "
        "launch argument image:=..."
    )


def type_name(kind: Any) -> str:
    """A message class as ROS writes it, e.g. sensor_msgs/msg/Image."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
