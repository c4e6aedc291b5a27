# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node `fleet`: this robot's keyframes to a store shared by several; loops with others' out."""

from __future__ import annotations

import os
import queue
import re
import socket
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
from rclpy.clock import Clock, ClockType
from std_msgs.msg import Header

from vpr_msgs.msg import Keyframe, LoopClosure
from vpr_ros.core.config import Config
from vpr_ros.core.durable_file import absolute
from vpr_ros.core.errors import FleetError
from vpr_ros.core.keyframe import Keyframe as CoreKeyframe
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.fleet.courier import Courier, FleetClosure, FleetConfig
from vpr_ros.fleet.fleet import MAX_ID, MAX_LINKS, Fleet, weights_of
from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet
from vpr_ros.fleet.outbox import Outbox
from vpr_ros.nodes import conversions
from vpr_ros.nodes.diagnostics import OK, WARN, Diagnostics, Report, memory_mb
from vpr_ros.nodes.guarded_node import GuardedNode
from vpr_ros.nodes.parameters import Configs, Parameters

REMEMBERED = 200  # keyframes to which a closure may still be added


class FleetNode(GuardedNode):
    """Passes keyframes to a Courier and publishes what it finds; never waits for a server."""

    PARAMETERS: ClassVar[tuple[type[Config], ...]] = (FleetConfig, MilvusConfig, LoopConfig)

    def __init__(self) -> None:
        """Open the outbox, begin to send, and subscribe; FleetError without an outbox."""
        super().__init__("fleet")
        self._config = Parameters(self, self.PARAMETERS, apply=self._apply)
        config = self._config[FleetConfig]
        robot = config.robot or re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:64]
        outbox = Outbox(_outbox_path(config, robot), config.outbox_mb)
        if outbox.note:
            self.get_logger().warning(outbox.note)
        self._said: queue.SimpleQueue[FleetClosure | str] = queue.SimpleQueue()
        self._recent: OrderedDict[int, tuple[CoreKeyframe, tuple[int, ...]]] = OrderedDict()
        self._early: OrderedDict[int, tuple[int, ...]] = OrderedDict()  # links before keyframes
        self._closures = 0
        milvus = self._config[MilvusConfig]
        milvus.secret()  # a file that cannot be read is told at once
        self._courier = Courier(
            lambda: self._connected(milvus),
            robot,
            outbox,
            config,
            self._config[LoopConfig],
            self._said.put,
            self._said.put,
        )
        self._publisher = self.create_publisher(LoopClosure, "fleet_closures", 50)
        self.create_subscription(Keyframe, "keyframes", self._on_keyframe, 50)
        self.create_subscription(LoopClosure, "loop_closures", self._on_closure, 50)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.1, self._say, clock=steady)
        Diagnostics(self, self._report)
        self._courier.start()
        self.get_logger().info(
            f"Robot '{robot}', map '{config.map}', outbox {outbox.path} ({len(outbox)} wait), "
            f"Milvus at {milvus.uri or 'no address yet: set milvus.uri'}"
        )

    def finish(self) -> None:
        """Stop sending; what is left waits in the outbox."""
        self._courier.finish()
        self._courier.outbox.close()

    def _apply(self, configs: Configs) -> None:
        self._courier.config, self._courier.loop = configs[FleetConfig], configs[LoopConfig]
        self._courier.outbox.max_mb = configs[FleetConfig].outbox_mb

    @staticmethod
    def _connected(config: MilvusConfig) -> Fleet:
        return MilvusFleet(config)

    def _on_keyframe(self, message: Keyframe) -> None:
        keyframe = conversions.checked_keyframe(message)
        weights_of(keyframe.model, keyframe.model_digest)  # a name that no store takes is told now
        if keyframe.id >= MAX_ID:
            raise FleetError(f"Keyframe {keyframe.id} has an id that the fleet cannot keep.")
        if keyframe.id in self._recent:
            raise FleetError(f"Keyframe {keyframe.id} came twice and was ignored.")
        self._recent[keyframe.id] = keyframe, ()
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        self._courier.add(keyframe)
        self._link(keyframe.id, self._early.pop(keyframe.id, ()))

    def _on_closure(self, message: LoopClosure) -> None:
        """A loop at home tells other robots, too, which keyframes show one place."""
        conversions.check_closure(message)
        if message.match_id < MAX_ID:
            self._link(message.query_id, (message.match_id,))

    def _link(self, id: int, matches: Iterable[int]) -> None:
        known = self._recent.get(id)
        before = known[1] if known else self._early.get(id, ())
        links = tuple(dict.fromkeys((*before, *matches)))[-MAX_LINKS:]
        if known is None:
            self._early[id] = links
            if len(self._early) > REMEMBERED:
                self._early.popitem(last=False)
        elif links != before:
            self._recent[id] = known[0], links
            self._courier.link(known[0], links)

    def _say(self) -> None:
        """Publish what the courier found and log what it complains of."""
        while not self._said.empty():
            said = self._said.get()
            if isinstance(said, str):
                self.problems.add(said, "fleet")
                continue
            query, match = said.query, said.match
            header = Header(stamp=conversions.to_time(query.stamp_ns), frame_id=query.frame)
            message = conversions.from_closure(said.closure, query.id, header)
            message.match_robot = match.robot
            self._publisher.publish(message)
            self._closures += 1
            self._link(query.id, (match.keyframe.id,))

    def _report(self) -> Report:
        courier, outbox = self._courier, self._courier.outbox
        lost = (
            f"{outbox.dropped} keyframes were dropped from the full outbox; `vpr map push` can "
            "send them from the map"
            if outbox.dropped
            else ""
        )
        notice = next(iter(courier.notices.values()), "")
        trouble = courier.trouble or self.problems.current or lost or notice
        return (
            WARN if trouble else OK,
            trouble or f"{courier.sent} sent, {len(outbox)} wait, {self._closures} loop closures",
            {
                "robot": courier.robot,
                "map": courier.config.map,
                "in_fleet": courier.in_fleet,
                "sent": courier.sent,
                "waiting": len(outbox),
                "waiting_mb": outbox.megabytes,
                "dropped": outbox.dropped,
                "refused_ids": courier.refused,
                "asked": courier.asked,
                "unasked": courier.unasked,
                "loop_closures": self._closures,
                "find_ms": _median(courier.find_ms),
                "put_ms": _median(courier.put_ms),
                "memory_mb": memory_mb(),
            },
        )


def _outbox_path(config: FleetConfig, robot: str) -> Path:
    data = os.environ.get("XDG_DATA_HOME", "") or "~/.local/share"
    return absolute(Path(config.outbox or os.path.join(data, "vpr_ros", f"{robot}.outbox")))


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.median(found)) if found else float("nan")
