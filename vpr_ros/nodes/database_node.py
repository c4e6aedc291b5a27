# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node `database`: keyframes in; loop closures out, or the reason why there is none."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from vpr_msgs.msg import Keyframe, LoopClosure, Query
from vpr_msgs.srv import EncodeImage, FindPlace
from vpr_ros.core.closure_picture import closure_picture
from vpr_ros.core.config import Config, param
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.errors import VprError
from vpr_ros.core.keyframe import MAX_TEXT, Candidate
from vpr_ros.core.keyframe_runs import KeyframeRuns
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector, Reason
from vpr_ros.core.loop_detector import Query as Answer
from vpr_ros.core.model_digest import model_text
from vpr_ros.nodes import conversions
from vpr_ros.nodes.diagnostics import (
    ERROR,
    OK,
    THROTTLE_S,
    WARN,
    Diagnostics,
    Latency,
    Report,
    memory_mb,
)
from vpr_ros.nodes.guarded_node import Backlog, GuardedNode
from vpr_ros.nodes.map_keeper import MapConfig, MapKeeper
from vpr_ros.nodes.parameters import Configs, Parameters

ENCODE_TIMEOUT_S = 5.0
MAX_ASKED = 8  # images that wait for the encoder; more are refused at once
# Requests that DDS keeps while the node is busy; of more than its default, 10, some would be lost.
WAITING_REQUESTS = 100
MAX_WAITING = 50  # keyframes
STRANGE = 2  # keyframes of another model in a row that change nothing
MAX_DATABASES = 4  # models whose keyframes are kept at a time


@dataclasses.dataclass(frozen=True)
class ClosureImageConfig(Config):
    """Which answers are shown as pictures."""

    group: ClassVar[str] = "closure_image"

    rejected: bool = param(False, "also show matches that were examined and rejected")


class DatabaseNode(GuardedNode):
    """Passes keyframes to a LoopDetector and publishes its answers."""

    PARAMETERS: ClassVar[tuple[type[Config], ...]] = (
        MapConfig,
        LoopConfig,
        DatabaseConfig,
        ClosureImageConfig,
    )

    def __init__(self) -> None:
        """Load the map, if there is one, and subscribe."""
        super().__init__("database")
        self._config = Parameters(self, self.PARAMETERS, apply=self._apply)
        self._detector = self._new_detector()
        self._detectors = [self._detector]  # one per model
        self._latency = Latency()
        self._closures = 0
        self._reasons = dict.fromkeys(Reason, 0)
        self._last_reason = "no keyframe yet"
        self._foreign = ""  # warning about a calibration of another model
        self._other, self._in_a_row = ("", ""), 0  # model of the last keyframes refused for it
        self._mismatch = ""  # error about keyframes of another model
        self._left_out = 0  # keyframes for which there was no time
        self._refused = dict.fromkeys((Query.OTHER_MODEL, Query.REFUSED), 0)

        self._runs = KeyframeRuns()
        self._backlog = Backlog(self, MAX_WAITING, self._on_keyframe, self._leave_out)
        self._maps = MapKeeper(
            self, lambda: self._config[MapConfig], self._detectors, lambda: self._detector
        )
        overridable = QoSOverridingOptions.with_default_policies()
        self._closure_publisher = self.create_publisher(
            LoopClosure, "loop_closures", 50, qos_overriding_options=overridable
        )
        self._query_publisher = self.create_publisher(
            Query, "queries", 50, qos_overriding_options=overridable
        )
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._marker_publisher = self.create_publisher(Marker, "loop_markers", latched)
        self._markers = conversions.LoopMarkers(lambda id: self._database.get(id))
        self._image_publisher = self.create_publisher(Image, "closure_image", 5)
        self.create_subscription(
            Keyframe,
            "keyframes",
            self._backlog.put,
            MAX_WAITING,
            qos_overriding_options=overridable,
        )
        # In a group of their own, so that keyframes are handled while an image is being encoded.
        asking = ReentrantCallbackGroup()
        self._encode = self.create_client(EncodeImage, "encode_image", callback_group=asking)
        self._asked = 0  # images that wait for the encoder
        self.create_service(
            FindPlace,
            "find_place",
            self._find_place,
            qos_profile=QoSProfile(depth=WAITING_REQUESTS),
            callback_group=asking,
        )
        Diagnostics(self, self._report)

    def _apply(self, configs: Configs) -> None:
        for detector in self._detectors:
            detector.config = configs[LoopConfig]
            detector.database.config = configs[DatabaseConfig]
            detector.database.shrink()

    def finish(self) -> None:
        """Take the keyframes that have arrived, and save the map."""
        self._backlog.finish()
        self._maps.finish()

    @property
    def _database(self) -> Database:
        return self._detector.database

    def _new_detector(self) -> LoopDetector:
        return LoopDetector(self._config[LoopConfig], Database(self._config[DatabaseConfig]))

    def _takes(self, message: Keyframe) -> bool:
        """Whether there is a database for the model of a keyframe; it becomes the one in use."""
        model = message.model, message.model_digest
        if not self._database.is_of(*model) and self._config[MapConfig].map_mismatch == "new":
            self._use_database_of(*model)
        elif not self._database.is_of(*model):
            self._in_a_row = self._in_a_row + 1 if model == self._other else 1
            self._other = model
            # A few strange keyframes that came first do not bind a database without a map.
            few = max(len(self._database), STRANGE)
            if self._in_a_row > few and not self._database.holds_map:
                self._use_database_of(*model)
        if self._database.is_of(*model):
            self._mismatch, self._in_a_row = "", 0
            return True
        mismatch = (
            f"Keyframes come from model '{model_text(*model)}', but the database holds those of "
            f"'{self._database.model_text}', so no loop can be closed. Use the map's model, or "
            "set map_mismatch to new."
        )
        if mismatch != self._mismatch:
            self.get_logger().error(mismatch, throttle_duration_sec=THROTTLE_S)
        self._mismatch = mismatch
        return False

    def _use_database_of(self, model: str, digest: str) -> None:
        """Continue with the database of another model, or begin one, if there may be more."""
        known = [d for d in self._detectors if d.database.is_of(model, digest)]
        if not known and len(self._detectors) == MAX_DATABASES:
            return
        left, self._detector = self._database, known[0] if known else self._new_detector()
        if not known:
            self._detectors.append(self._detector)
        self.get_logger().warning(
            f"Keyframes come from model '{model_text(model, digest)}' now; they are kept in a "
            f"database of their own, with {len(self._database)} keyframes so far. The "
            f"{len(left)} of '{left.model_text}' stay in memory until their model runs again.",
            throttle_duration_sec=THROTTLE_S,  # two encoders may take turns
        )

    def _refuse(self, message: Keyframe, reason: int, text: str) -> None:
        """Answer a keyframe that is not taken: Query.OTHER_MODEL or Query.REFUSED."""
        self._refused[reason] += 1
        name = "OTHER_MODEL" if reason == Query.OTHER_MODEL else "REFUSED"
        self._last_reason = f"{name}: {text}"
        frame = message.header.frame_id[:MAX_TEXT]
        self._query_publisher.publish(
            Query(
                header=Header(stamp=message.header.stamp, frame_id=frame),
                query_id=message.id,
                reason=reason,
                message=text,
                keyframes=len(self._database),
            )
        )

    def _check_calibration(self, model: str, digest: str) -> None:
        """Warn, once, if `loop.calibration` belongs to another model than the keyframes."""
        named = self._config[LoopConfig].calibrated_for_another(model, digest)
        foreign = (
            f"loop.calibration is for model '{named}' but the keyframes come from "
            f"'{model_text(model, digest)}', so the thresholds in the model file are used. "
            "Calibrate again, or clear the parameter."
            if named
            else ""
        )
        if foreign and foreign != self._foreign:
            self.get_logger().warning(foreign, throttle_duration_sec=THROTTLE_S)
        self._foreign = foreign

    def _leave_out(self, message: Keyframe) -> None:
        """Answer a keyframe for which there is no time."""
        self._note(message)
        text = (
            f"Keyframes come faster than the database takes them; {MAX_WAITING} wait and the "
            "oldest is left out. Make fewer (gate.interval_s, gate.distance_m at the encoder), or "
            "lower features.count there or loop.verified_candidates here."
        )
        self._refuse(message, Query.REFUSED, text)
        self._left_out += 1
        self.problems.add(text, "behind")

    def _note(self, message: Keyframe) -> None:
        if complaint := self._runs.add(message.id):
            self.problems.add(complaint, "runs")

    def _on_keyframe(self, message: Keyframe) -> None:
        self._note(message)
        if not self._takes(message):
            self._refuse(message, Query.OTHER_MODEL, self._mismatch)
            return
        self._check_calibration(message.model, message.model_digest)
        try:
            query = self._detector.process(conversions.to_keyframe(message))
        except VprError as error:
            self._refuse(message, Query.REFUSED, str(error))
            raise
        closure = query.closure
        if closure is not None:
            self._closure_publisher.publish(
                conversions.from_closure(closure, query.place.id, message.header)
            )
            self._closures += 1
        stamp_ns = conversions.stamp_ns(message.header.stamp)
        self._latency.add_since(stamp_ns, self.get_clock().now().nanoseconds)
        self._query_publisher.publish(
            conversions.from_query(query, message.header, len(self._database))
        )
        if closure is not None and self._markers.add(query.place, closure.match):
            self._marker_publisher.publish(self._markers.message(message.header.stamp))
        self._reasons[query.reason] += 1
        self._last_reason = f"{query.reason.name}: {query.message}"
        self._show(query, message.header)

    def _show(self, answer: Answer, header: Header) -> None:
        """Publish the picture of an answer, if anybody looks at it."""
        if not self._image_publisher.get_subscription_count():
            return
        closure, rejected, match = answer.closure, answer.rejected, None
        if closure is not None:
            match, verification = closure.match, closure.verification
        elif self._config[ClosureImageConfig].rejected and rejected is not None:
            match, verification = rejected.place, rejected.evidence.verification
        if match is not None:
            text = f"keyframe {answer.place.id}: {answer.message}"
            picture = closure_picture(answer.place, match, verification, text, closure is not None)
            self._image_publisher.publish(conversions.from_image(picture, header))

    # Services

    async def _find_place(
        self, request: FindPlace.Request, response: FindPlace.Response
    ) -> FindPlace.Response:
        count = request.count or self._config[LoopConfig].candidates
        try:
            header, candidates = await self._answer(request, count)
        except VprError as error:
            response.message = str(error)
            return response
        response.success = True
        response.message = f"{len(candidates)} of {len(self._database)} keyframes"
        response.candidates = [conversions.from_candidate(c) for c in candidates]
        self._query_publisher.publish(
            Query(
                header=header,
                query_id=request.keyframe_id,
                reason=Query.ASKED,
                message=response.message,
                candidates=response.candidates,
                keyframes=len(self._database),
            )
        )
        return response

    async def _answer(
        self, request: FindPlace.Request, count: int
    ) -> tuple[Header, list[Candidate]]:
        """Candidates for whichever field of the request is set."""
        if request.keyframe_id:
            place = self._database.get(request.keyframe_id)
            if place is None:
                raise VprError(
                    f"Keyframe {request.keyframe_id} is not among the {len(self._database)} in "
                    "the database; it never was, or it has been evicted."
                )
            header = Header(stamp=conversions.to_time(place.stamp_ns), frame_id=place.frame)
            return header, self._database.search_elsewhere(place, count)
        if len(request.descriptor):
            header = Header(stamp=self.get_clock().now().to_msg())
            return header, self._database.search(np.array(request.descriptor, np.float32), count)
        if not len(request.image.data) and not len(request.compressed_image.data):
            raise VprError(
                "The request is empty; set keyframe_id, descriptor, image or compressed_image."
            )
        encoded = await self._encoded(request)
        if not self._database.is_of(encoded.model, encoded.model_digest):
            raise VprError(
                f"The encoder runs model '{model_text(encoded.model, encoded.model_digest)}' but "
                f"the database holds keyframes of '{self._database.model_text}'. Run the model "
                "that the map was made with."
            )
        filled = request.image if len(request.image.data) else request.compressed_image
        descriptor = np.array(encoded.descriptor, np.float32)
        frame = filled.header.frame_id[:MAX_TEXT]  # it is published
        header = Header(stamp=filled.header.stamp, frame_id=frame)
        return header, self._database.search(descriptor, count)

    async def _encoded(self, request: FindPlace.Request) -> EncodeImage.Response:
        """The encoder's answer to the image of a request."""
        if not self._encode.service_is_ready():
            raise VprError(
                f"There is no encoder at {self._encode.srv_name}; start one, or send a descriptor."
            )
        if self._asked >= MAX_ASKED:
            raise VprError(f"{self._asked} images wait for the encoder already; ask again later.")
        answer = self._encode.call_async(
            EncodeImage.Request(image=request.image, compressed_image=request.compressed_image)
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        timeout = self.create_timer(ENCODE_TIMEOUT_S, answer.cancel, clock=steady)
        self._asked += 1
        try:
            encoded = await answer
        finally:
            self._asked -= 1
            self.destroy_timer(timeout)
        if encoded is None:
            raise VprError(
                f"The encoder did not answer within {ENCODE_TIMEOUT_S:g} s; is it still running?"
            )
        if not encoded.success:
            raise VprError(encoded.message)
        return encoded

    # Diagnostics

    def _report(self) -> Report:
        if not self.count_publishers("keyframes"):  # who sent what did not fit is gone
            self._mismatch = self._foreign = ""
        database, p = self._database, self._latency.percentiles_ms()
        trouble = self._maps.trouble or self.problems.current or self._foreign
        level = WARN if trouble else OK
        if self._mismatch:
            level = ERROR
        counts = {f"queries_{reason.name.lower()}": n for reason, n in self._reasons.items()}
        return (
            level,
            self._mismatch
            or trouble
            or f"{len(database)} keyframes, {self._closures} loop closures",
            {
                "keyframes": len(database),
                "model": database.model or "none yet",
                "model_digest": database.model_digest or "unknown",
                "databases": len(self._detectors),
                "loop_closures": self._closures,
                **counts,
                "queries_other_model": self._refused[Query.OTHER_MODEL],
                "queries_refused": self._refused[Query.REFUSED],
                "lost_keyframes": self._runs.lost,
                "keyframes_left_out": self._left_out,
                "keyframes_waiting": len(self._backlog.waiting),
                "last_reason": self._last_reason,
                "latency_p50_ms": p[0],
                "latency_p95_ms": p[1],
                "bytes_per_keyframe": database.bytes_per_keyframe,
                "evicted": database.evicted,
                "memory_mb": memory_mb(),
            },
        )
