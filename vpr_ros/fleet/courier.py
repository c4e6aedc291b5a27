# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sends a robot's keyframes to the fleet and asks for places, in a thread of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import FleetError, VprError
from vpr_ros.core.keyframe import NS_PER_S, Keyframe, run_of
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopClosure, LoopDetector
from vpr_ros.fleet.fleet import Fleet, FleetKeyframe, Found, Where, check_name, weights_of
from vpr_ros.fleet.fleet_places import FleetPlaces
from vpr_ros.fleet.outbox import MAX_SESSIONS, Outbox

BATCH = 200  # keyframes sent at once, some 10 MB
MAX_ASKED = 50  # keyframes of which places are asked at once; older ones are not asked about
MORE_FOUND = 3  # times loop.candidates are searched for: a rival may lie behind many laps
LONGEST_PAUSE_S = 30.0  # between attempts to reach the fleet
SURVEY_S = 30.0  # between looks at what else is in the fleet
CLOCK = "clock of"  # kind of notice
SKEW_S = 5.0  # a clock that is further ahead is told


@dataclasses.dataclass(frozen=True)
class FleetConfig(Config):
    """Who this robot is among others, and how often it talks to them."""

    group: ClassVar[str] = "fleet"

    robot: str = param(
        "",
        "name of this robot, which no other robot of the fleet may have; empty: the host name",
        read_only=True,
    )
    map: str = param(
        "main",
        "name of the shared map, e.g. of a building; searches find only keyframes of the same map",
        read_only=True,
    )
    outbox: str = param(
        "",
        "file in which keyframes wait to be sent; empty: vpr_ros/ROBOT.outbox in $XDG_DATA_HOME "
        "or ~/.local/share",
        read_only=True,
    )
    outbox_mb: int = param(
        1000,
        "maximum size of the outbox, at 54 kB per keyframe; beyond it, the oldest keyframes are "
        "dropped and counted",
        unit="MB",
        minimum=1,
        maximum=1_000_000,
    )
    send_interval_s: float = param(
        1.0, "time between sends of new keyframes", unit="s", minimum=0.1, maximum=3600.0
    )
    ask_interval_s: float = param(
        2.0,
        "time between searches for places that other robots have seen, for all keyframes since "
        "the last search; 0: never search",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("map (fleet.map)", self.map)
        if self.robot:
            check_name("robot (fleet.robot)", self.robot)


@dataclasses.dataclass(frozen=True)
class FleetClosure:
    """A loop closed with a keyframe of the fleet."""

    query: Keyframe
    match: FleetKeyframe
    closure: LoopClosure


class Courier:
    """Between one robot's outbox and the fleet; what it says and finds is handed to callables."""

    def __init__(
        self,
        connect: Callable[[], Fleet],
        robot: str,
        outbox: Outbox,
        config: FleetConfig,
        loop: LoopConfig,
        found: Callable[[FleetClosure], None],
        complain: Callable[[str], None],
    ) -> None:
        """`connect` makes a Fleet; `config` and `loop` may be replaced at any time."""
        self.robot, self.outbox, self.config, self.loop = robot, outbox, config, loop
        self.trouble = ""  # why the fleet cannot be reached now
        self.notices: dict[str, str] = {}  # what is wrong in the fleet, by kind
        self.sent = self.refused = self.asked = self.unasked = 0
        self.in_fleet = 0  # keyframes of this map and model, those of others
        self.find_ms: deque[float] = deque(maxlen=200)
        self.put_ms: deque[float] = deque(maxlen=200)
        self._connect = connect
        self._fleet: Fleet | None = None
        self._tell, self._complain = found, complain
        self._questions: deque[Keyframe] = deque(maxlen=MAX_ASKED)
        self._detector: LoopDetector | None = None
        self._runs: dict[int, int] = {}  # own sessions heard: stamp of their first keyframe
        self._newest = 0, 0.0  # stamp of the newest own keyframe, when it came (monotonic)
        self._size = 0  # of the robot's descriptors
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin to send and ask."""
        self._thread.start()

    def finish(self, patience_s: float = 2.0) -> None:
        """Stop; what was not sent stays in the outbox."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def add(self, keyframe: Keyframe) -> None:
        """Take a keyframe of this robot; FleetError if the outbox does not."""
        self._runs.setdefault(run_of(keyframe.id), keyframe.stamp_ns)
        if len(self._runs) > MAX_SESSIONS:
            del self._runs[next(iter(self._runs))]
        self._newest, self._size = (keyframe.stamp_ns, time.monotonic()), keyframe.descriptor.size
        if self.config.ask_interval_s:
            self.unasked += len(self._questions) == MAX_ASKED
            self._questions.append(keyframe)
        self.outbox.add(FleetKeyframe(self.robot, self.config.map, keyframe))

    def link(self, keyframe: Keyframe, links: tuple[int, ...]) -> None:
        """Tell the fleet, too, which keyframes show the place of this one; sends it again."""
        self.outbox.add(FleetKeyframe(self.robot, self.config.map, keyframe, links))

    def _run(self) -> None:
        pause_s = asked_s = surveyed_s = 0.0
        while not self._stop.wait(pause_s or self.config.send_interval_s):
            try:
                if self._fleet is None:
                    self._fleet = self._connect()
                more = self._send()
                now = time.monotonic()
                if self.config.ask_interval_s and now - asked_s >= self.config.ask_interval_s:
                    asked_s = now
                    self._ask()
                if now - surveyed_s >= SURVEY_S and self._runs:
                    surveyed_s = now
                    self._survey()
                self.trouble, pause_s = "", 0.001 if more else 0.0
            except Exception as error:  # the thread never ends of one
                known = isinstance(error, VprError)
                self.trouble = str(error) if known else f"{type(error).__name__}: {error}"
                self._complain(self.trouble)
                pause_s = min(max(1.0, 2.0 * pause_s), LONGEST_PAUSE_S)
        if self._fleet is not None:
            with contextlib.suppress(Exception):
                self._fleet.close()

    def _send(self) -> bool:
        """Send one batch; whether there is more."""
        assert self._fleet is not None
        batch = self.outbox.first(BATCH, self._size)
        if not batch:
            return False
        began = time.monotonic()
        refused = self._fleet.put(list(batch.values()))
        self.put_ms.append(1e3 * (time.monotonic() - began))
        self.outbox.remove(list(batch))
        self.sent += len(batch) - len(refused)
        self.refused += len(refused)
        if refused:
            self._notice(
                "ids",
                f"{len(refused)} keyframes were not sent, since other keyframes in the fleet have "
                f"their ids, such as {refused[0]}: was a recording played again, or is an id "
                "chosen by hand?",
            )
        return len(batch) == BATCH

    def _ask(self) -> None:
        """Judge what the fleet has for the keyframes since the last time."""
        assert self._fleet is not None
        questions = [self._questions.popleft() for _ in range(len(self._questions))]
        if not questions:
            return
        weights = weights_of(questions[-1].model, questions[-1].model_digest)
        detector = self._detector_for(weights)
        detector.config = self.loop
        places = detector.database
        assert isinstance(places, FleetPlaces)
        questions = [q for q in questions if weights_of(q.model, q.model_digest) == weights]
        began = time.monotonic()
        try:
            answers = self._fleet.find(
                np.stack([q.descriptor for q in questions]),
                MORE_FOUND * self.loop.candidates,
                Where(self.config.map, model=weights, without_sessions=tuple(self._runs)),
            )
        except FleetError:  # ask again later, about the newest of them
            room = MAX_ASKED - len(self._questions)
            self._questions.extendleft(questions[: -room - 1 : -1])
            self.unasked += max(0, len(questions) - room)
            raise
        self.find_ms.append(1e3 * (time.monotonic() - began))
        places.fetch([f.entry for found in answers for f in found[: self.loop.candidates]])
        for question, found in zip(questions, answers, strict=True):
            places.expect(found)
            self._check_clocks(found)
            try:
                closure = detector.process(question).closure
            except FleetError:
                raise
            except VprError as error:  # this keyframe is to blame
                self._complain(str(error))
                closure = None
            if closure is not None:
                self._tell(FleetClosure(question, places.whose(closure.match), closure))
            self.asked += 1

    def _detector_for(self, weights: str) -> LoopDetector:
        places = self._detector.database if self._detector is not None else None
        if self._detector is None or not (
            isinstance(places, FleetPlaces) and places.weights == weights
        ):
            assert self._fleet is not None
            fresh = FleetPlaces(self._fleet.get)
            fresh.weights = weights
            self._detector = LoopDetector(self.loop, fresh)
        return self._detector

    def _check_clocks(self, found: list[Found]) -> None:
        """Against now, as the question may have waited for an outage to end."""
        now_ns = self._now_ns()
        for other in (f.entry for f in found):
            ahead_s = (other.stamp_ns - now_ns) / NS_PER_S
            if ahead_s > SKEW_S and other.robot != self.robot:
                self._notice(
                    f"{CLOCK} {other.robot}",
                    f"The clock of robot '{other.robot}' is at least {ahead_s:.0f} s ahead of "
                    "this robot's, so their stamps cannot be compared. Synchronise the clocks.",
                )

    def _now_ns(self) -> int:
        """Now, by the clock of this robot's stamps."""
        stamp_ns, heard_s = self._newest
        return stamp_ns + int((time.monotonic() - heard_s) * NS_PER_S)

    def _survey(self) -> None:
        """Look at what else is there, of what model, and for another robot of this name."""
        assert self._fleet is not None
        count, fleet = self._fleet.count, self.config
        own = tuple({*self._runs, *self.outbox.sessions()})
        model = self._detector.database if self._detector is not None else None
        weights = model.weights if isinstance(model, FleetPlaces) else ""
        name = weights.removeprefix("name:")
        self.in_fleet = count(Where(fleet.map, model=weights, without_sessions=own))
        if isinstance(model, FleetPlaces):
            model.known = self.in_fleet
        strangers = count(Where(fleet.map, without_sessions=own))
        self.notices.pop("model", None)
        if strangers and not self.in_fleet:
            self._notice(
                "model",
                f"Map '{fleet.map}' of the fleet holds {strangers} keyframes, but none of this "
                f"robot's model (weights {name}), so no loop can be closed with them. Run the "
                "same model on all robots.",
            )
        since = min(self._runs.values())
        twins = count(Where(fleet.map, self.robot, without_sessions=own, since_ns=since))
        self.notices.pop("name", None)
        if twins:
            self._notice(
                "name",
                f"{twins} keyframes in the fleet are of a robot '{self.robot}' but not of this "
                "one: another robot has its name. Give each a name of its own (fleet.robot).",
            )

        clocks = [kind for kind in self.notices if kind.startswith(CLOCK)]
        ahead = Where(
            fleet.map, without_sessions=own, since_ns=self._now_ns() + int(SKEW_S * NS_PER_S)
        )
        if clocks and not count(ahead):  # mended, or long enough ago
            for kind in clocks:
                del self.notices[kind]

    def _notice(self, kind: str, text: str) -> None:
        if kind not in self.notices:
            self._complain(text)
        self.notices[kind] = text
