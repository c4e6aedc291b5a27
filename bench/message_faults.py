# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Hostile messages, requests and parameters for the real nodes, which must live on."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rcl_interfaces import srv
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import BatteryState, CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from bench.hostile import ENCODINGS, Hostile
from bench.nodes import picture
from bench.process_faults import Counts, Robot, messages, read_errors, running, stand_ins
from vpr_msgs.msg import Keyframe, LoopClosure, Query
from vpr_msgs.srv import EncodeImage, FindPlace, LoadMap, SaveMap

PLACES = 12  # of the lap driven before and after
ANSWER_S = 60.0  # an answer that takes longer never comes
PARAMETER_SERVICES = {
    "set_parameters": srv.SetParameters,
    "set_parameters_atomically": srv.SetParametersAtomically,
    "get_parameters": srv.GetParameters,
    "get_parameter_types": srv.GetParameterTypes,
    "describe_parameters": srv.DescribeParameters,
    "list_parameters": srv.ListParameters,
}
# What rises in a status whenever a lap closes loops.
WORK = {
    "graph": ("keyframes", "evicted"),
    "relocalizer": ("keyframes",),
    "bridge": ("waiting", "dropped", "sent"),
    "fleet": ("sent",),
}
UNFORESEEN = re.compile(r"\w+: \w+: .*\(\w+\.py:\d+\)")


def hostile_network(count: int, seed: int = 0, together: bool = False) -> Counts:
    """`count` hostile messages to each topic and requests to each service of all nodes.

    Survived is what the nodes outlive, and answer where they were asked. The last rows: a lap
    along the places seen before the attack must close loops again, and the nodes that hear of
    them must go on with their work. `together`: all nodes are one process.
    """
    known = mock.patch.dict(os.environ, stand_ins.environment())
    with known, tempfile.TemporaryDirectory() as maps, running() as robot:
        return Attack(robot, Hostile(seed), maps, together).run(count)


def hostile_process(count: int, seed: int = 0) -> Counts:
    """As `hostile_network`, to all nodes in one process."""
    rows = hostile_network(count, seed, together=True)
    return {f"one process: {row}": counts for row, counts in rows.items()}


class Attack:
    """All nodes, a drive past known places, and a sender of hostile values."""

    def __init__(self, robot: Robot, hostile: Hostile, maps: str, together: bool) -> None:
        """Start the nodes; maps and the fleet's store go into the folder `maps`."""
        self.settings: dict[str, dict[str, Any]] = {
            "encoder": {"gate__distance_m": 0.1},
            "database": {
                "database__exclude_recent_s": 0.5,
                "database__exclude_recent_keyframes": 3,
                "map_folder": maps,
            },
            "graph": {"map_folder": maps},
            "relocalizer": {"map_folder": maps},
            "bridge": {"to": "rtabmap"},
            "fleet": {
                "fleet__robot": "red",
                "fleet__ask_interval_s": 0.2,
                "milvus__uri": f"{maps}/fleet.db",
            },
        }
        self.robot, self.hostile, self.rng = robot, hostile, hostile.rng
        self.together = together
        if together:
            robot.start_together(self.settings)
        else:
            for name in self.settings:
                robot.start(name, **self.settings[name])
        self.camera = robot.publisher(Image, "image", qos_profile_sensor_data)
        self.odometry = robot.publisher(Odometry, "odom", qos_profile_sensor_data)
        self.queries = robot.listen(Query, "queries")
        self.closures = robot.listen(LoopClosure, "loop_closures")
        robot.wait_for_database()
        self.pictures = [picture(number) for number in range(PLACES)]
        self.initial = {name: self._parameters(name) for name in self.settings}

    def run(self, count: int) -> Counts:
        """A lap, the attack, laps until a loop is closed."""
        self.lap()
        counts: Counts = {}
        rtabmap = stand_ins.start(self.robot, count)
        self._until(lambda: self.robot.status["bridge"]["nodes"] == "30", ANSWER_S)
        counts["hostile Info"] = self._survived(count, lambda: True)
        for kind, attempt in (*self._topics(), *self._services()):
            row = f"hostile {kind.__name__}"
            before, now = counts.get(row, (0, 0)), self._survived(count, attempt)
            counts[row] = before[0] + now[0], before[1] + now[1]
        for name in self.settings:
            self._restore(name)
        for line in sorted({bug for log in self.robot.logs for bug in UNFORESEEN.findall(log)}):
            print(f"survived, but not foreseen: {line}", file=sys.stderr)
        before = {name: self._work(name) for name in WORK}
        counts["loops closed after all that"] = 1, int(any(self.lap() for _ in range(3)))
        for name, work in before.items():
            goes_on = self._until(lambda n=name, w=work: self._work(n) > w, ANSWER_S)
            counts["nodes that go on with their work"] = (
                len(before),
                counts.get("nodes that go on with their work", (0, 0))[1] + goes_on,
            )
            if not goes_on:
                print(f"{name} has ceased to work: {self.robot.status.get(name)}", file=sys.stderr)
        rtabmap.kill()
        rtabmap.wait()
        return counts

    def _work(self, name: str) -> int:
        """What a node has done so far."""
        return sum(int(self.robot.status[name][key]) for key in WORK[name])

    def lap(self) -> bool:
        """Drive past all places; whether a loop was closed."""
        before = len(self.closures)
        for number, pixels in enumerate(self.pictures):
            stamp = self.robot.stamp()
            self.odometry.publish(messages.odometry(number, stamp))
            self._spin(0.02)
            self.camera.publish(messages.raw(pixels, stamp))
            self._until(
                lambda stamp=stamp: any(q.header.stamp == stamp for q in self.queries[-5:]), 2.0
            )
        self._spin(0.3)
        return len(self.closures) > before

    def _survived(self, count: int, attempt: Callable[[], bool]) -> tuple[int, int]:
        """How many of `count` attempts were made, and how many were survived."""
        survived = 0
        for _ in range(count):
            answered = attempt()
            survived += not self._revived() and answered
        self.robot.status.clear()
        if not self._until(lambda: set(self.robot.status) >= set(self.settings), 30.0):
            print(f"only {set(self.robot.status)} still report", file=sys.stderr)
            survived = 0
        return count, survived - self._revived()

    def _revived(self) -> bool:
        """Whether a node had died; it runs again."""
        dead = [name for name, p in self.robot.processes.items() if p.poll() is not None]
        for name in dead:
            process = self.robot.processes.pop(name)
            print(f"{name} died: {read_errors(process)[-2000:]}", file=sys.stderr)
            if self.together:
                self.robot.start_together(self.settings)
            else:
                self.robot.start(name, **self.settings[name])
        return bool(dead)

    # What is sent

    def _topics(self) -> Iterator[tuple[Any, Callable[[], bool]]]:
        makers = {
            "image": (Image, self._image),
            "image/compressed": (CompressedImage, self._compressed),
            "odom": (Odometry, lambda: messages.odometry(3, self.robot.stamp())),
            "camera_info": (CameraInfo, self._camera_info),
            "battery_state": (BatteryState, lambda: messages.battery(0.5, self.robot.stamp())),
            "keyframes": (Keyframe, self._keyframe),
            "loop_closures": (LoopClosure, self._closure),
            "/tf": (TFMessage, lambda: TFMessage(transforms=[TransformStamped()])),
        }
        for topic, (kind, make) in makers.items():
            reliable = kind in (Keyframe, LoopClosure, TFMessage)
            publisher = self.robot.node.create_publisher(
                kind, topic, 10 if reliable else qos_profile_sensor_data
            )
            self._until(lambda p=publisher: p.get_subscription_count() > 0, 5.0)

            def send(publisher: Any = publisher, make: Callable[[], Any] = make) -> bool:
                publisher.publish(self.hostile.spoil(make(), self.rng.randrange(4)))
                self._spin(0.01)
                return True

            yield kind, send

    def _services(self) -> Iterator[tuple[Any, Callable[[], bool]]]:
        for name, kind, make in (
            ("encode_image", EncodeImage, self._encode_image),
            ("find_place", FindPlace, self._find_place),
            ("save_map", SaveMap, SaveMap.Request),
            ("load_map", LoadMap, LoadMap.Request),
            ("relocalize", Trigger, Trigger.Request),
        ):
            yield kind, self._asker(kind, name, make)
        for node in self.settings:
            for name, kind in PARAMETER_SERVICES.items():
                ask = self._asker(
                    kind, f"{node}/{name}", lambda k=kind, n=node: self._request(k, n)
                )
                yield kind, ask

    def _asker(self, kind: Any, name: str, make: Callable[[], Any]) -> Callable[[], bool]:
        client = self.robot.node.create_client(kind, name)

        def ask() -> bool:
            self._until(client.service_is_ready, 10.0)
            answer = client.call_async(self.hostile.spoil(make(), self.rng.randrange(4)))
            if self._until(lambda: answer.done() or self._anyone_dead(), ANSWER_S):
                return answer.done()
            print(f"{name} does not answer", file=sys.stderr)
            return False

        return ask

    def _image(self) -> Image:
        pixels = self.rng.choice(self.pictures)[:: self.rng.choice((1, 2, 3))]
        return messages.raw(pixels.copy(), self.robot.stamp(), self.rng.choice(ENCODINGS))

    def _compressed(self) -> CompressedImage:
        message = messages.compressed(self.rng.choice(self.pictures), self.robot.stamp())
        data = bytearray(message.data)
        for _ in range(self.rng.randrange(4)):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        message.data = bytes(data[: self.rng.choice((len(data), len(data), 2, len(data) // 2))])
        return message

    def _camera_info(self) -> CameraInfo:
        message = CameraInfo(width=640, height=480, distortion_model="plumb_bob", d=[0.1] * 5)
        message.header.stamp = self.robot.stamp()
        message.k = [400.0, 0.0, 320.0, 0.0, 400.0, 240.0, 0.0, 0.0, 1.0]
        return message

    def _keyframe(self) -> Keyframe:
        """One as the encoder sends them, sometimes even under its name."""
        size = self.rng.choice((1, 64, 768, 1280))
        message = messages.keyframe(self.rng.randrange(10**6), self.robot.stamp(), size)
        if self.rng.random() < 0.5:
            status = self.robot.status.get("encoder", {})
            message.model = status.get("model", "m")
            message.model_digest = status.get("model_digest", "")
        return message

    def _closure(self) -> LoopClosure:
        """One between keyframes that exist."""
        ids = [query.query_id for query in self.rng.choices(self.queries, k=2)]
        message = LoopClosure(query_id=ids[0], match_id=ids[1], confidence=0.9, score=0.9)
        message.has_relative_pose = True
        message.header.stamp = self.robot.stamp()
        return message

    def _encode_image(self) -> EncodeImage.Request:
        return EncodeImage.Request(image=self._image())

    def _find_place(self) -> FindPlace.Request:
        kind = self.rng.randrange(4)
        if kind == 0:
            return FindPlace.Request(image=self._image(), count=self.rng.choice((0, 3, 2**32 - 1)))
        if kind == 1:
            return FindPlace.Request(compressed_image=self._compressed())
        if kind == 2:
            return FindPlace.Request(descriptor=self.hostile.value("sequence<float>"))
        return FindPlace.Request(keyframe_id=self.rng.choice(self.queries).query_id)

    def _request(self, kind: Any, node: str) -> Any:
        """A request of a parameter service with real names and values of any type."""
        names = list(self.initial[node])
        if "parameters" not in kind.Request.get_fields_and_field_types():
            if "names" in kind.Request.get_fields_and_field_types():
                return kind.Request(names=self.rng.sample(names, 3))
            return kind.Request()
        parameters = []
        for name in self.rng.sample(names, 2):
            value = ParameterValue(type=self.rng.choice((*range(12), 255)))
            fields = list(value.get_fields_and_field_types().items())[1:]
            for field, of in fields:
                setattr(value, field, self.hostile.value(of))
            if self.rng.random() < 0.5:
                value.type = self.initial[node][name].type
            parameters.append(Parameter(name=name, value=value))
        return kind.Request(parameters=parameters)

    # What it needs

    def _parameters(self, node: str) -> dict[str, ParameterValue]:
        names = self.robot.call(srv.ListParameters, f"{node}/list_parameters").result.names
        names = [name for name in names if not name.startswith("qos_overrides")]
        values = self.robot.call(srv.GetParameters, f"{node}/get_parameters", names=names).values
        return dict(zip(names, values, strict=True))

    def _restore(self, node: str) -> None:
        parameters = [
            Parameter(name=name, value=value)
            for name, value in self.initial[node].items()
            if value.type != ParameterType.PARAMETER_NOT_SET
        ]
        self.robot.call(srv.SetParameters, f"{node}/set_parameters", parameters=parameters)

    def _anyone_dead(self) -> bool:
        return any(p.poll() is not None for p in self.robot.processes.values())

    def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                return False
            self.robot.executor.spin_once(timeout_sec=0.02)
        return True

    def _spin(self, seconds: float) -> None:
        self._until(lambda: False, seconds)
