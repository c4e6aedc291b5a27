# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node `graph`: keyframes and closures in; the corrected trajectory and map -> odom out."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from typing import ClassVar

import numpy as np
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from tf2_msgs.msg import TFMessage

from vpr_msgs.msg import ClosureVerdict, Keyframe, LoopClosure
from vpr_ros.core.config import Config, param
from vpr_ros.core.durable_file import FileStamp, file_stamp
from vpr_ros.core.keyframe import MAX_TEXT
from vpr_ros.core.pose import Pose
from vpr_ros.mapping.graph_file import graph_path, load_graph, save_graph
from vpr_ros.mapping.graph_solver import GraphSolver
from vpr_ros.mapping.pose_graph import (
    Correction,
    GraphClosure,
    GraphConfig,
    GraphKeyframe,
    PoseGraph,
)
from vpr_ros.mapping.relocalization import CameraConfig
from vpr_ros.nodes import conversions
from vpr_ros.nodes.diagnostics import OK, WARN, Diagnostics, Latency, Report, memory_mb
from vpr_ros.nodes.graph_view import GraphView
from vpr_ros.nodes.guarded_node import GuardedNode
from vpr_ros.nodes.map_keeper import MapConfig, slow_save
from vpr_ros.nodes.parameters import Parameters

OTHER_AUTHORITY_S = 10.0  # how long others are listened to for the same transform
SAVE_S = 60.0
MOST_EARLY = 100  # closures that wait for their keyframe
LONGEST_REST_S = 10.0  # of the solver, which rests as long as it has worked: half a core at most
FEW_KEYFRAMES = 5  # after which a closure's keyframe is not expected any more


@dataclasses.dataclass(frozen=True)
class GraphNodeConfig(Config):
    """What the node publishes and keeps."""

    map: str = param(
        "",
        "map of the database: a name in map_folder or a path; the graph is saved beside it in a "
        "file of the same name that ends in .vprgraph",
        read_only=True,
    )
    map_folder: str = param("", "folder of the maps, as for the database", read_only=True)
    map_frame: str = param("map", "frame of the corrected trajectory")
    publish_tf: bool = param(True, "publish the transform from map_frame to the odometry frame")
    jump_m: float = param(
        1.0,
        "a correction that moves the robot on the map by more than this is logged",
        unit="m",
        minimum=0.0,
        maximum=1e6,
    )


class GraphNode(GuardedNode):
    """Keeps the pose graph, and has it corrected by a process of its own."""

    PARAMETERS: ClassVar[tuple[type[Config], ...]] = (GraphNodeConfig, CameraConfig, GraphConfig)

    def __init__(self) -> None:
        """Load the graph, if there is one, and subscribe."""
        super().__init__("graph")
        self._config = Parameters(self, self.PARAMETERS)
        self._graph = PoseGraph(self._config[GraphConfig])
        self._correction = Correction.none()
        self._map_odom = Pose.planar(0.0, 0.0, 0.0)  # pose of the odometry on the map
        self._ours: tuple[Pose, ...] = (self._map_odom,)  # and before, perhaps still on its way
        self._joined = True  # whether that is known
        self._odom_frame = ""  # of the keyframes' poses; empty: not known yet
        self._frames = ""  # what is wrong with the frame of the odometry
        self._lock = threading.Lock()  # of the graph and the fields above
        self._wake, self._ending = threading.Event(), threading.Event()
        self._latency = Latency()
        self._unknown = self._without_pose = self._evicted = 0
        self._early: list[tuple[LoopClosure, int]] = []  # and the size of the graph then
        self._unsaved = ""  # why the graph is not saved
        self._stamp: FileStamp | None = None  # of the graph's file, as it was read or written here
        self._other = ""  # warning about another publisher of the transform
        self._saved_at, self._changed, self._saved = time.monotonic(), False, 0
        self._saving = math.inf  # since when, monotonic
        self._load()

        self._solver = GraphSolver(self.problems.add)
        self._view = GraphView(self)
        self._verdict_publisher = self.create_publisher(ClosureVerdict, "closure_verdicts", 50)
        self._tf_publisher = self.create_publisher(TFMessage, "/tf", 100)
        self.create_subscription(Keyframe, "keyframes", self._on_keyframe, 50)
        self.create_subscription(LoopClosure, "loop_closures", self._on_closure, 50)
        self.create_subscription(Odometry, "odom", self._on_odometry, qos_profile_sensor_data)
        self._others = self.create_subscription(TFMessage, "/tf", self._on_tf, 100)
        self._listening_ends = time.monotonic() + OTHER_AUTHORITY_S
        self.create_timer(2.0, self._tell)
        self._worker = threading.Thread(target=self._work, name="graph", daemon=True)
        self._worker.start()
        Diagnostics(self, self._report)

    def finish(self) -> None:
        """Stop the thread, correct what has come since, and save."""
        pending = self._wake.is_set()
        self._ending.set()
        self._wake.set()
        self._worker.join(0.5)
        if pending or self._worker.is_alive():  # ros2 launch may not wait for a correction
            self._save()
            self._saved = -1
        self._worker.join()
        if pending:
            with self.problems.caught():
                self._correct()
        self._solver.close()
        self._save()

    # Input

    def _on_keyframe(self, message: Keyframe) -> None:
        keyframe = conversions.checked_keyframe(message)
        if keyframe.pose is None:
            self._without_pose += 1
            return
        with self._lock:
            self._graph.config = self._config[GraphConfig]
            joined = self._graph.add_keyframe(
                keyframe.id, keyframe.stamp_ns, keyframe.pose, keyframe.pose_frame
            )
            self._odom_frame = keyframe.pose_frame or self._odom_frame
            anchored = self._graph.is_first(self._graph.trajectory)
            if not joined:
                self._joined = anchored
            self._changed = True
            if len(self._graph) > self._graph.config.max_keyframes:
                self._wake.set()  # to make room
        self._take_early()
        if not joined and not anchored:
            self.get_logger().warning(
                "The odometry jumped or started anew: a new trajectory begins, which is not on "
                f"the map until {self._config[GraphConfig].min_agreeing} closures agree on it.",
                throttle_duration_sec=5.0,  # two encoders may take turns
            )

    def _on_closure(self, message: LoopClosure) -> None:
        conversions.check_closure(message)
        if not self._take(message):
            # The database may have answered before this node has heard of the keyframe.
            self._early = [*self._early[1 - MOST_EARLY :], (message, len(self._graph))]

    def _take(self, message: LoopClosure) -> bool:
        """Add a closure to the graph; False if its query may still come."""
        with self._lock:
            if self._graph.index_of(message.query_id) is None:
                return False
            turn = conversions.turn_of(message, self._config[CameraConfig])
            known = self._graph.add_closure(message.query_id, message.match_id, turn)
            self._changed = True
        if known:
            self._wake.set()
        else:
            self._disregard(message)
        return True

    def _take_early(self) -> None:
        """Take the closures that came before their keyframe, and give up the old ones."""
        early, self._early = self._early, []
        for message, then in early:
            if self._take(message):
                continue
            if len(self._graph) - then < FEW_KEYFRAMES:
                self._early.append((message, then))
            else:
                self._disregard(message)

    def _disregard(self, message: LoopClosure) -> None:
        self._unknown += 1
        self._verdict_publisher.publish(
            ClosureVerdict(
                header=message.header,
                query_id=message.query_id,
                match_id=message.match_id,
                offset_m=math.nan,
                turn_deg=math.nan,
                reason="one of its keyframes is not in the graph, or has no pose",
            )
        )

    def _on_odometry(self, message: Odometry) -> None:
        config = self._config[GraphNodeConfig]
        child = message.header.frame_id[:MAX_TEXT] or self._odom_frame or "odom"
        self._frames = self._frames_problem(child) if config.publish_tf else ""
        if not config.publish_tf or not self._joined or self._frames:
            return
        transform = TransformStamped(child_frame_id=child)
        transform.header.stamp = message.header.stamp
        transform.header.frame_id = config.map_frame
        here, to = self._map_odom, transform.transform.translation
        transform.transform.rotation = conversions.from_pose(here).orientation
        to.x, to.y, to.z = here.values[:3]
        self._tf_publisher.publish(TFMessage(transforms=[transform]))

    def _frames_problem(self, child: str) -> str:
        if child == self._config[GraphNodeConfig].map_frame:
            return (
                f"No transform is published: odometry and graph are both in frame '{child}'. Set "
                "map_frame to another name."
            )
        if self._odom_frame and child != self._odom_frame:
            return (
                f"No transform is published: 'odom' is in frame '{child}', the keyframes are in "
                f"'{self._odom_frame}'. Give the graph the odometry that the encoder gets."
            )
        return ""

    def _on_tf(self, message: TFMessage) -> None:
        """Listen for another publisher of the same transform; ours comes back as it went out."""
        if not self._config[GraphNodeConfig].publish_tf:
            return
        for transform in message.transforms:
            frames = transform.header.frame_id, transform.child_frame_id
            if frames != (self._config[GraphNodeConfig].map_frame, self._odom_frame or "odom"):
                continue
            t = transform.transform.translation
            if min(math.dist((t.x, t.y, t.z), p.values[:3]) for p in self._ours) <= 1e-6:
                continue
            self._listening_ends = time.monotonic() + OTHER_AUTHORITY_S
            if not self._other:
                self._other = (
                    f"Somebody else publishes {frames[0]} -> {frames[1]} as well. Only one may: "
                    "stop it, or set publish_tf to false."
                )
                self.get_logger().warning(self._other)

    # Correction

    def _work(self) -> None:
        """Correct the graph whenever a closure has come, and save it from time to time."""
        while not self._ending.is_set():
            if self._wake.wait(1.0) and not self._ending.is_set():
                self._wake.clear()
                began = time.monotonic()
                with self.problems.caught():
                    self._correct()
                self._ending.wait(min(time.monotonic() - began, LONGEST_REST_S))
            if time.monotonic() - self._saved_at > SAVE_S:
                self._save()

    def _correct(self) -> None:
        began = time.perf_counter_ns()
        with self._lock:
            self._make_room()
            keyframes, closures = self._graph.snapshot()
        last, said = keyframes[-1], self._correction.verdicts[:, 0]
        snapshot, config = (keyframes, closures), self._config[GraphConfig]
        correction = self._solver.correct(snapshot, config, self._correction)
        with self._lock:
            self._correction, self._changed = correction, True
            self._saved = -1  # a save may have taken the closure, but not what it corrects
            before, joined = self._map_odom, self._joined
            if correction.on_map[-1] and last.trajectory == self._graph.trajectory:
                pose = Pose(*correction.poses[-1].tolist())
                self._map_odom = pose.compose(last.odometry.inverse())
                self._ours = self._map_odom, before
                self._joined = True
        self._latency.add(time.perf_counter_ns() - began)
        self._announce(before, joined, last.odometry)
        holds = correction.verdicts[:, 0]
        news = np.isfinite(holds)
        news[: len(said)] &= holds[: len(said)] != said
        for i in np.flatnonzero(news).tolist():
            self._publish_verdict(keyframes, closures[i], correction.verdicts[i])

    def _make_room(self) -> None:
        before = len(self._graph)
        if (kept := self._graph.shrink()) is None:
            return
        self._correction = self._correction.of(*kept)
        if not self._evicted:
            self.get_logger().info(
                f"The graph has more than {self._graph.config.max_keyframes} keyframes "
                "(graph.max_keyframes); the oldest are dropped from now on"
            )
        self._evicted += before - len(self._graph)

    def _announce(self, before: Pose, joined: bool, odometry: Pose) -> None:
        """Say it if the robot has moved on the map."""
        if not joined:
            if self._joined:
                self.get_logger().info("The trajectory is on the map now: closures agree on it")
            return
        was, now = before.compose(odometry), self._map_odom.compose(odometry)
        moved_m, turned_deg = was.distance_m(now), was.angle_deg(now)
        if moved_m > self._config[GraphNodeConfig].jump_m:
            self.get_logger().info(
                f"A correction moves the robot by {moved_m:.2f} m and {turned_deg:.1f} degrees"
            )

    def _publish_verdict(
        self, keyframes: list[GraphKeyframe], closure: GraphClosure, verdict: np.ndarray
    ) -> None:
        holds, offset_m, turn_deg = verdict.tolist()
        query, match = keyframes[closure.query], keyframes[closure.match]
        message = ClosureVerdict(query_id=query.id, match_id=match.id, accepted=holds == 1.0)
        message.offset_m, message.turn_deg = offset_m, turn_deg
        message.header.stamp = conversions.to_time(query.stamp_ns)
        message.header.frame_id = self._config[GraphNodeConfig].map_frame
        if not message.accepted:
            message.reason = (
                f"the other closures and the odometry put its views {offset_m:.1f} m and "
                f"{turn_deg:.0f} degrees apart"
            )
        self._verdict_publisher.publish(message)

    # Output

    def _tell(self) -> None:
        """Publish what can be seen, if it has changed."""
        if self._others is not None and time.monotonic() > self._listening_ends:
            self.destroy_subscription(self._others)
            self._others, self._other = None, ""  # nobody, or not any more
        if not self._changed:
            return
        with self._lock:
            self._changed = False
            keyframes, closures = self._graph.snapshot()
            correction = self._correction
        frame = self._config[GraphNodeConfig].map_frame
        self._view.publish(keyframes, closures, correction, frame)

    def _load(self) -> None:
        config = self._config[GraphNodeConfig]
        self._map = MapConfig(map=config.map, map_folder=config.map_folder).own_map
        if self._map is None:
            return
        self._unsaved = (
            f"The graph of map {self._map} was not read, so it is not saved either; see the log."
        )
        with self.problems.caught():
            self._stamp = file_stamp(graph_path(self._map))  # before it is read
            self._correction = load_graph(self._map, self._graph, config.map_frame)
            self._saved = self._graph.revision
            count = int(self._correction.on_map.sum())
            self._joined, self._unsaved = count == 0, ""
            if count:
                self.get_logger().info(f"Loaded the places of {count} keyframes of {self._map}")

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        with self._lock:
            revision, snapshot = self._graph.revision, self._graph.snapshot()
            correction = self._correction
        if self._map is not None and not self._unsaved and revision != self._saved:
            with self.problems.caught():
                path, frame = graph_path(self._map), self._config[GraphNodeConfig].map_frame
                self._saving = self._saved_at
                self._stamp = save_graph(path, snapshot, correction, frame, self._stamp, False)
                self._saved = revision
            self._saving = math.inf

    def _report(self) -> Report:
        p50_ms, p95_ms = self._latency.percentiles_ms()
        with self._lock:
            holds = self._correction.verdicts[:, 0]
            accepted, rejected = int((holds == 1).sum()), int((holds == 0).sum())
            count, joined = len(self._graph), self._joined
        problem = slow_save(self._map and graph_path(self._map), self._saving)
        problem = problem or self.problems.current or self._unsaved or self._other or self._frames
        if not problem and self._without_pose and not count:
            problem = "Keyframes carry no pose: the graph needs odometry at the encoder."
        if not problem and count and not joined:
            problem = "The trajectory is not on the map yet: too few closures agree on it."
        return (
            WARN if problem else OK,
            problem or f"{count} keyframes, {accepted} of {accepted + rejected} closures hold",
            {
                "keyframes": count,
                "closures_accepted": accepted,
                "closures_rejected": rejected,
                "closures_unknown": self._unknown,
                "keyframes_without_pose": self._without_pose,
                "evicted": self._evicted,
                "on_the_map": joined,
                "correction_p50_ms": p50_ms,
                "correction_p95_ms": p95_ms,
                "solver_losses": self._solver.losses,
                "solver_memory_mb": memory_mb(self._solver.pid),
                "memory_mb": memory_mb(),
            },
        )
