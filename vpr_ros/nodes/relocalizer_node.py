# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node `relocalizer`: closures with a saved map in; where the robot is on it out."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from geometry_msgs.msg import PoseWithCovariance, PoseWithCovarianceStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger

from vpr_msgs.msg import Keyframe, Localization, LoopClosure
from vpr_ros.core.config import Config, param
from vpr_ros.mapping.graph_file import map_places
from vpr_ros.mapping.relocalization import (
    CameraConfig,
    RelocalizationConfig,
    Relocalizer,
    State,
)
from vpr_ros.nodes import conversions
from vpr_ros.nodes.diagnostics import OK, WARN, Diagnostics, Report
from vpr_ros.nodes.guarded_node import GuardedNode
from vpr_ros.nodes.map_keeper import MapConfig
from vpr_ros.nodes.parameters import Configs, Parameters

FEW_KEYFRAMES = 5  # of which one may have passed unheard before a closure comes


@dataclasses.dataclass(frozen=True)
class RelocalizerConfig(Config):
    """What the node reads and publishes."""

    map: str = param(
        "",
        "map that the database has loaded: a name in map_folder or a path; poses come from the "
        "graph file beside it or, without one, from the map",
        read_only=True,
    )
    map_folder: str = param("", "folder of the maps, as for the database", read_only=True)
    map_frame: str = param("map", "frame of the published poses")
    repeat: bool = param(
        False,
        "publish initialpose whenever closures agree, not only when the robot is first located "
        "or found to have moved",
    )


class RelocalizerNode(GuardedNode):
    """Passes keyframes and closures to a Relocalizer and publishes its answers."""

    PARAMETERS: ClassVar[tuple[type[Config], ...]] = (
        RelocalizerConfig,
        CameraConfig,
        RelocalizationConfig,
    )

    def __init__(self) -> None:
        """Load the poses of the map, and subscribe."""
        super().__init__("relocalizer")
        self._config = Parameters(self, self.PARAMETERS, apply=self._apply)
        self._relocalizer = Relocalizer({}, self._config[RelocalizationConfig])
        self._problem = ""
        self._load()
        self._said = State.LOST
        self._keyframes = self._closures = 0
        self._waiting: list[LoopClosure] = []  # closures that came before their keyframe
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._state_publisher = self.create_publisher(Localization, "localization", latched)
        self._pose_publisher = self.create_publisher(PoseWithCovarianceStamped, "initialpose", 10)
        self.create_subscription(Keyframe, "keyframes", self._on_keyframe, 50)
        self.create_subscription(LoopClosure, "loop_closures", self._on_closure, 50)
        self.create_service(Trigger, "relocalize", self._restart)
        Diagnostics(self, self._report)

    def _apply(self, configs: Configs) -> None:
        self._relocalizer.config = configs[RelocalizationConfig]

    def _load(self) -> None:
        config = self._config[RelocalizerConfig]
        path = MapConfig(map=config.map, map_folder=config.map_folder).own_map
        if path is None:
            self._problem = "The parameter 'map' is empty: give the map that the database loads."
            self.get_logger().warning(self._problem)
            return
        with self.problems.caught():
            self._problem = f"No poses were read from map {path}; see the log."
            found = map_places(path, config.map_frame)
            self._relocalizer.poses, self._relocalizer.offsets = found
            count = len(self._relocalizer.poses)
            self._problem = "" if count else f"Map {path} has no keyframe with a pose."
            known = self._relocalizer.offsets
            text = f"; views of a place {known.position_m:.2f} m apart" if known else ""
            self.get_logger().info(f"{count} places on the map {path}{text}")

    def _on_keyframe(self, message: Keyframe) -> None:
        self._keyframes += 1
        keyframe = conversions.checked_keyframe(message)
        self._relocalizer.add_keyframe(
            keyframe.id, keyframe.stamp_ns, keyframe.pose, keyframe.pose_frame
        )
        early, self._waiting = self._waiting, []
        for closure in early:
            if closure.query_id == keyframe.id:
                self._take(closure)
            elif closure.query_id > keyframe.id:
                self._waiting.append(closure)
        self._say(message)

    def _on_closure(self, message: LoopClosure) -> None:
        conversions.check_closure(message)
        if not self._take(message):
            # The database may have answered before this node has heard of the keyframe.
            self._waiting = [*self._waiting[1 - FEW_KEYFRAMES :], message]

    def _take(self, message: LoopClosure) -> bool:
        turn = conversions.turn_of(message, self._config[CameraConfig])
        relocalizer, before = self._relocalizer, self._relocalizer.localization
        if not relocalizer.add_closure(
            message.query_id, message.match_id, message.confidence, turn
        ):
            return message.match_id not in relocalizer.poses
        self._closures += 1
        found = relocalizer.localization
        self._say(message)
        news = found.state == State.MOVED or before.state not in (State.LOCATED, State.MOVED)
        located = found.state in (State.LOCATED, State.MOVED) and found is not before
        if located and (news or self._config[RelocalizerConfig].repeat):
            pose = PoseWithCovarianceStamped(header=message.header, pose=self._pose())
            pose.header.frame_id = self._config[RelocalizerConfig].map_frame
            self._pose_publisher.publish(pose)
        return True

    def _say(self, message: Keyframe | LoopClosure) -> None:
        """Publish the state; log it when it changes."""
        known = self._relocalizer.localization
        answer = Localization(
            header=message.header,
            state=int(known.state),
            quality=known.quality,
            agreeing=known.agreeing,
            match_id=known.match_id,
            message=self._text(),
        )
        answer.header.frame_id = self._config[RelocalizerConfig].map_frame
        if known.pose is not None:
            answer.pose = self._pose()
        self._state_publisher.publish(answer)
        if known.state != self._said:
            self.get_logger().info(answer.message)
            self._said = known.state

    def _pose(self) -> PoseWithCovariance:
        known = self._relocalizer.localization
        variances = [known.position_m**2] * 3 + [known.rotation_rad**2] * 3
        covariance = np.diag(variances).ravel()
        return PoseWithCovariance(pose=conversions.from_pose(known.pose), covariance=covariance)

    def _text(self) -> str:
        known = self._relocalizer.localization
        if known.pose is None:
            least = self._config[RelocalizationConfig].min_agreeing
            return {
                State.LOST: "lost: no closure with the map",
                State.CANDIDATES: f"{known.agreeing} closure agrees, at least {least} are needed"
                if known.agreeing == 1
                else f"{known.agreeing} closures agree, more are needed",
            }[known.state]
        moved = " (not where odometry led to)" if known.state == State.MOVED else ""
        x, y = known.pose.x, known.pose.y
        return (
            f"located at x {x:.2f} m, y {y:.2f} m by {known.agreeing} closures that agree, the "
            f"last with keyframe {known.match_id}{moved}"
        )

    def _restart(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._relocalizer.restart()
        self._waiting.clear()
        response.success, response.message = True, "looking for the robot's place anew"
        return response

    def _report(self) -> Report:
        known = self._relocalizer.localization
        problem = self.problems.current or self._problem
        return (
            WARN if problem else OK,
            problem or self._text(),
            {
                "state": known.state.name,
                "quality": known.quality,
                "places_on_the_map": len(self._relocalizer.poses),
                "keyframes": self._keyframes,
                "closures_with_the_map": self._closures,
            },
        )
