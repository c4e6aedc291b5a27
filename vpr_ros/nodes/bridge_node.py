# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node `bridge`: closures in; links of rtabmap or edges of a pose graph of Hydra out."""

from __future__ import annotations

import bisect
import dataclasses
import importlib
import math
from collections import deque
from typing import Any, ClassVar

import numpy as np
from rclpy.qos import QoSProfile

from vpr_msgs.msg import LoopClosure
from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import VprError
from vpr_ros.core.keyframe import NS_PER_S
from vpr_ros.core.pose import Pose
from vpr_ros.mapping.relocalization import CameraConfig
from vpr_ros.nodes import conversions
from vpr_ros.nodes.diagnostics import OK, WARN, Diagnostics, Report
from vpr_ros.nodes.guarded_node import GuardedNode
from vpr_ros.nodes.parameters import Parameters

USER_CLOSURE = 4  # rtabmap::Link::kUserClosure
MOST_NODES, MOST_WAITING = 1_000_000, 100
MOST_LINKED = 10_000  # pairs that are remembered; a pair comes again at once or never
INFO_QOS = QoSProfile(depth=100)  # reliable, as rtabmap sends it: a node missed is a closure lost
UNKNOWN_RAD = math.pi  # standard deviation of a rotation that is not known


@dataclasses.dataclass(frozen=True)
class BridgeConfig(Config):
    """Whom the closures are passed on to, and how much they weigh there."""

    to: str = param(
        "",
        "back end that receives the closures; empty: none",
        choices=("", "rtabmap", "hydra"),
        read_only=True,
    )
    position_m: float = param(
        1.0,
        "standard deviation of the distance between the two views of a closure",
        unit="m",
        minimum=0.01,
        maximum=100.0,
    )
    rotation_deg: float = param(
        6.0,
        "standard deviation of the rotation between the two views of a closure",
        unit="deg",
        minimum=0.1,
        maximum=180.0,
    )
    apart_s: float = param(
        1.0,
        "maximum time between a view and the rtabmap node that stands for it",
        unit="s",
        minimum=0.001,
        maximum=60.0,
    )
    robot_id: int = param(0, "number of the robot in Hydra", minimum=0, maximum=1000)


class BridgeNode(GuardedNode):
    """Passes closures on; the packages of the other side are needed only for that side."""

    PARAMETERS: ClassVar[tuple[type[Config], ...]] = (BridgeConfig, CameraConfig)

    def __init__(self) -> None:
        """Connect to the other side; raises VprError where its messages are not installed."""
        super().__init__("bridge")
        self._config = Parameters(self, self.PARAMETERS)
        self._sent = self._dropped = 0
        self._stamps: list[int] = []  # of rtabmap's nodes, rising [ns]
        self._ids: list[int] = []  # of the same nodes
        self._linked: set[tuple[int, int]] = set()  # nodes of rtabmap, or stamps
        self._waiting: list[LoopClosure] = []
        self._asked: deque[Any] = deque(maxlen=MOST_WAITING)  # futures of the last links
        self._to = self._config[BridgeConfig].to
        if self._to == "rtabmap":
            self._link = _package("rtabmap_msgs.msg").Link
            service = _package("rtabmap_msgs.srv").AddLink
            self._client = self.create_client(service, "add_link")
            info = _package("rtabmap_msgs.msg").Info
            self.create_subscription(info, "info", self._on_info, INFO_QOS)
        elif self._to == "hydra":
            self._graph = _package("pose_graph_tools_msgs.msg").PoseGraph
            self._edge = _package("pose_graph_tools_msgs.msg").PoseGraphEdge
            self._publisher = self.create_publisher(self._graph, "external_loop_closures", 50)
        self.create_subscription(LoopClosure, "loop_closures", self._on_closure, 50)
        Diagnostics(self, self._report)

    def _on_closure(self, message: LoopClosure) -> None:
        conversions.check_closure(message)
        if self._to == "hydra":
            self._publish_edge(message)
        elif self._to == "rtabmap":
            self._waiting.append(message)
            self._dropped += len(self._waiting) > MOST_WAITING
            self._waiting = self._waiting[-MOST_WAITING:]
            self._add_links()

    def _is_new(self, query: int, match: int) -> bool:
        """Whether these two have not been linked; two databases, where they run, say it twice."""
        if (query, match) in self._linked:
            return False
        if len(self._linked) == MOST_LINKED:
            self._linked.clear()
        self._linked.add((query, match))
        return True

    def _measured(self, message: LoopClosure) -> tuple[Pose, list[float]]:
        """The pose of the query in the match, and variances of x y z roll pitch yaw."""
        config = self._config[BridgeConfig]
        turn = conversions.turn_of(message, self._config[CameraConfig])
        rotation_rad = math.radians(config.rotation_deg) if turn else UNKNOWN_RAD
        variances = [config.position_m**2] * 3 + [rotation_rad**2] * 3
        return turn or Pose.planar(0.0, 0.0, 0.0), variances

    def _publish_edge(self, message: LoopClosure) -> None:
        """Hydra looks for its nodes by stamps, which stand where other edges have keys."""
        query_ns = conversions.stamp_ns(message.header.stamp)
        match_ns = conversions.stamp_ns(message.match_stamp)
        if not self._is_new(query_ns, match_ns):
            return
        pose, variances = self._measured(message)
        robot = self._config[BridgeConfig].robot_id
        edge = self._edge(
            header=message.header,
            key_from=query_ns,
            key_to=match_ns,
            robot_from=robot,
            robot_to=robot,
            type=self._edge.LOOPCLOSE,
            pose=conversions.from_pose(pose),  # of `from` in `to`
            covariance=np.diag(variances).ravel(),
        )
        self._publisher.publish(self._graph(header=message.header, edges=[edge]))
        self._sent += 1

    def _on_info(self, message: Any) -> None:
        """Note a new node of rtabmap; closures may wait for it."""
        if complaint := conversions.stamp_complaint(message.header.stamp):
            raise VprError(f"A node of rtabmap was refused: {complaint}.")
        stamp_ns = conversions.stamp_ns(message.header.stamp)
        last = (self._stamps[-1], self._ids[-1]) if self._ids else (-1, 0)
        if message.ref_id <= 0 or (stamp_ns, message.ref_id) == last:
            return
        if stamp_ns <= last[0] or message.ref_id <= last[1] or len(self._ids) == MOST_NODES:
            self._stamps, self._ids, self._linked = [], [], set()  # rtabmap has begun anew
        self._stamps.append(stamp_ns)
        self._ids.append(message.ref_id)
        self._add_links()

    def _add_links(self) -> None:
        """Send the closures whose nodes are known, and give up those that will have none."""
        apart_ns = self._config[BridgeConfig].apart_s * NS_PER_S
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            query_ns = conversions.stamp_ns(message.header.stamp)
            # Not before rtabmap is past it: a nearer node may still come.
            if not self._client.service_is_ready() or self._stamps[-1:] < [query_ns]:
                self._waiting.append(message)
                continue
            stamps = query_ns, conversions.stamp_ns(message.match_stamp)
            query, match = (self._node_at(stamp, apart_ns) for stamp in stamps)
            if query is None or match is None or query == match:
                self._dropped += 1
            elif self._is_new(query, match):
                self._add_link(message, query, match)

    def _node_at(self, stamp_ns: int, apart_ns: float) -> int | None:
        """rtabmap's node of a view; None if there is none near enough."""
        k = bisect.bisect(self._stamps, stamp_ns)
        near = min(
            range(max(k - 1, 0), min(k + 1, len(self._stamps))),
            key=lambda i: abs(self._stamps[i] - stamp_ns),
            default=None,
        )
        known = near is not None and abs(self._stamps[near] - stamp_ns) <= apart_ns
        return self._ids[near] if known and near is not None else None

    def _add_link(self, message: LoopClosure, query: int, match: int) -> None:
        pose, variances = self._measured(message)
        link = self._link(from_id=match, to_id=query, type=USER_CLOSURE)
        link.transform.rotation = conversions.from_pose(pose).orientation
        link.information = np.diag(1 / np.array(variances)).ravel()
        if len(self._asked) == MOST_WAITING:  # of a rtabmap that never answers
            self._client.remove_pending_request(self._asked[0])
        self._asked.append(self._client.call_async(self._client.srv_type.Request(link=link)))
        self._sent += 1

    def _report(self) -> Report:
        problem = self.problems.current
        if not problem and not self._to:
            problem = "The parameter 'to' is empty: give rtabmap or hydra."
        elif not problem and self._to == "rtabmap":
            if not self._client.service_is_ready():
                problem = f"Nothing offers the service {self._client.service_name}: start rtabmap."
            elif not self._ids:
                problem = "No node of rtabmap was heard of: remap 'info' to its topic."
        elif not problem and not self._publisher.get_subscription_count():
            problem = f"Nothing subscribes to {self._publisher.topic_name}: start Hydra."
        return (
            WARN if problem else OK,
            problem or f"{self._sent} closures passed on to {self._to}",
            {
                "sent": self._sent,
                "dropped": self._dropped,
                "waiting": len(self._waiting),
                "nodes": len(self._ids),
            },
        )


def _package(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise VprError(
            f"The bridge needs the package {module.split('.')[0]}, which is not installed or not "
            "sourced."
        ) from None
