# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a robot is on a saved map, once several of its closures with the map agree.

Needs no odometry: closures then agree if the robot could have driven from one place to the next.
With odometry they agree if they lead to one pose, so fewer are enough.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque
from typing import ClassVar

from vpr_ros.core.config import Config, param
from vpr_ros.core.pose import Pose

DRIFT = 0.1  # of odometry, share of the way
DRIFT_RAD_PER_M = 0.01


class State(enum.IntEnum):
    """As in vpr_msgs/Localization."""

    LOST = 0
    CANDIDATES = 1
    LOCATED = 2
    MOVED = 3


@dataclasses.dataclass(frozen=True)
class RelocalizationConfig(Config):
    """When closures agree."""

    group: ClassVar[str] = "relocalization"

    min_agreeing: int = param(
        2,
        "number of agreeing closures needed to locate the robot; one more without odometry",
        minimum=1,
        maximum=100,
    )
    agree_m: float = param(
        3.0,
        "closures agree if their poses on the map lie within this distance",
        unit="m",
        minimum=0.01,
        maximum=1000.0,
    )
    agree_deg: float = param(
        20.0,
        "closures agree if their headings on the map lie within this angle",
        unit="deg",
        minimum=0.1,
        maximum=180.0,
    )
    max_speed: float = param(
        2.0,
        "maximum speed of the robot, used without odometry",
        unit="m/s",
        minimum=0.01,
        maximum=100.0,
    )
    window: int = param(
        10, "number of newest keyframes whose closures are compared", minimum=2, maximum=1000
    )
    lost_after: int = param(
        50,
        "number of keyframes without an agreeing closure after which the robot counts as lost",
        minimum=1,
        maximum=1_000_000,
    )
    position_m: float = param(
        1.0,
        "standard deviation of the distance between the two views of a closure, used if the map "
        "has too few closures to measure it",
        unit="m",
        minimum=0.01,
        maximum=100.0,
    )
    rotation_deg: float = param(
        6.0,
        "the same for the rotation between the two views",
        unit="deg",
        minimum=0.1,
        maximum=180.0,
    )


@dataclasses.dataclass(frozen=True)
class CameraConfig(Config):
    """How the camera looks from the robot: without it closures could not turn the robot."""

    group: ClassVar[str] = "camera"

    yaw_deg: float = param(
        0.0,
        "heading of the camera relative to the robot, positive to the left; 0: the camera looks "
        "ahead",
        unit="deg",
        minimum=-180.0,
        maximum=180.0,
    )
    pitch_deg: float = param(
        0.0,
        "downward tilt of the camera relative to the robot",
        unit="deg",
        minimum=-90.0,
        maximum=90.0,
    )


@dataclasses.dataclass(frozen=True)
class ViewOffsets:
    """How far apart the two views of a closure are: standard deviations along each axis."""

    position_m: float
    rotation_deg: float


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A closure with the map."""

    keyframe: int  # number of the robot's keyframe
    stamp_ns: int
    match_id: int
    confidence: float
    pose: Pose  # of the robot on the map
    odometry: Pose | None
    odometry_run: int  # sightings of one run are joined by odometry


@dataclasses.dataclass(frozen=True)
class Localization:
    """What is known about the robot's place; standard deviations in m and rad."""

    state: State = State.LOST
    pose: Pose | None = None
    quality: float = 0.0  # probability that not all agreeing closures are wrong
    agreeing: int = 0
    match_id: int = 0
    position_m: float = math.inf
    rotation_rad: float = math.inf


def camera_turn(turn: Pose, camera: CameraConfig) -> Pose:
    """The robot's turn between two views, from that of its camera.

    The camera's axes are those of an image (REP 103: x right, y down, z ahead).
    """
    pitch = math.radians(camera.pitch_deg) / 2
    tilt = Pose(0.0, 0.0, 0.0, 0.0, math.sin(pitch), 0.0, math.cos(pitch))
    optical = Pose(0.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5)
    mount = Pose.planar(0.0, 0.0, math.radians(camera.yaw_deg)).compose(tilt).compose(optical)
    return mount.compose(turn).compose(mount.inverse())


class Relocalizer:
    """Takes keyframes and their closures with a map; says where the robot is on it."""

    def __init__(self, poses: dict[int, Pose], config: RelocalizationConfig | None = None) -> None:
        """The map: the poses of its keyframes, by id."""
        self.config = config or RelocalizationConfig()
        self.poses = poses
        self.offsets: ViewOffsets | None = None  # measured on the map, instead of the parameters
        self.restart()

    def restart(self) -> None:
        """Forget where the robot is."""
        self.localization = Localization()
        self._keyframes: dict[int, tuple[int, int, Pose | None, int]] = {}  # by id
        self._count = self._run = 0
        self._last: tuple[int, Pose | None, str] | None = None  # stamp, odometry, its frame
        self._sightings: deque[Sighting] = deque()
        self._agreed: Sighting | None = None  # the last one that located the robot
        self._fix = Localization()  # where that was

    def add_keyframe(self, id: int, stamp_ns: int, odometry: Pose | None, frame: str) -> None:
        """The robot's next keyframe; `odometry` is None where there is none."""
        self._count += 1
        if self._last is not None and not self._goes_on(stamp_ns, odometry, frame):
            self._run += 1
        self._last = stamp_ns, odometry, frame
        self._keyframes[id] = self._count, stamp_ns, odometry, self._run
        if len(self._keyframes) > 4 * self.config.window:
            del self._keyframes[next(iter(self._keyframes))]
        while self._sightings and self._sightings[0].keyframe <= self._count - self.config.window:
            self._sightings.popleft()
        last = self._agreed.keyframe if self._agreed else 0
        if self._agreed and self._count - last > self.config.lost_after:
            self._agreed = None
        if self._agreed is None:
            state = State.CANDIDATES if self._sightings else State.LOST
            self.localization = Localization(state, agreeing=min(len(self._sightings), 1))
        else:
            self.localization = self._moved_on(odometry)

    def add_closure(
        self, query_id: int, match_id: int, confidence: float, turn: Pose | None
    ) -> bool:
        """A closure; `turn` is that of the robot at the query in the robot at the match.

        True if it is one with the map and its keyframe is known, so that `localization` is new.
        """
        if match_id not in self.poses or query_id not in self._keyframes:
            return False
        number, stamp_ns, odometry, run = self._keyframes[query_id]
        if any(s.keyframe == number for s in self._sightings):
            return True  # said twice, as where two databases run, is not more sure
        pose = self.poses[match_id].compose(turn) if turn is not None else self.poses[match_id]
        sighting = Sighting(number, stamp_ns, match_id, confidence, pose, odometry, run)
        self._sightings.append(sighting)
        group = [s for s in self._sightings if self._agree(s, sighting)]
        joined = sum(self._joined(s, sighting) for s in group) >= self.config.min_agreeing
        enough = self.config.min_agreeing + (not joined)
        if len(group) < enough or 2 * len(group) <= len(self._sightings):
            if self._agreed is None:
                self.localization = Localization(State.CANDIDATES, agreeing=len(group))
            return True
        moved = self._agreed is not None and not self._agree(self._agreed, sighting)
        self._agreed = sighting
        self._fix = self._located(State.MOVED if moved else State.LOCATED, group)
        self.localization = self._fix
        return True

    def _goes_on(self, stamp_ns: int, odometry: Pose | None, frame: str) -> bool:
        """Whether odometry joins a keyframe to the last one."""
        assert self._last is not None
        before_ns, before, before_frame = self._last
        if odometry is None or before is None or frame != before_frame or stamp_ns < before_ns:
            return False
        # Twice the speed and half a metre more: it is to find jumps, not haste.
        reach_m = 2 * self.config.max_speed * (stamp_ns - before_ns) / 1e9 + 0.5
        return odometry.distance_m(before) <= reach_m

    def _joined(self, a: Sighting, b: Sighting) -> bool:
        known = a.odometry is not None and b.odometry is not None
        return known and a.odometry_run == b.odometry_run

    def _agree(self, a: Sighting, b: Sighting) -> bool:
        """Whether two sightings can both be right."""
        if self._joined(a, b):
            there = self._brought(a, b)
            near = there.distance_m(b.pose) <= self.config.agree_m
            return near and there.angle_deg(b.pose) <= self.config.agree_deg
        way_m = self.config.max_speed * abs(b.stamp_ns - a.stamp_ns) / 1e9
        return a.pose.distance_m(b.pose) <= self.config.agree_m + way_m

    def _brought(self, a: Sighting, b: Sighting) -> Pose:
        """Where the first of two sightings says that the robot is at the second."""
        assert a.odometry is not None and b.odometry is not None
        return a.pose.compose(a.odometry.inverse().compose(b.odometry))

    def _located(self, state: State, group: list[Sighting]) -> Localization:
        """The mean of what the sightings say of the last one's pose."""
        last = group[-1]
        said = [self._brought(s, last) for s in group if self._joined(s, last)] or [last.pose]
        x, y, z = (sum(getattr(p, axis) for p in said) / len(said) for axis in "xyz")
        pose = dataclasses.replace(_middle(said), x=x, y=y, z=z)
        quality = 1.0 - math.prod(1.0 - min(max(s.confidence, 0.0), 1.0) for s in group)
        # Views a step apart err alike, so the mean is not as sure as it would be of N unlike ones.
        root = math.sqrt(min(len(said), 4))
        sure = self.offsets or ViewOffsets(self.config.position_m, self.config.rotation_deg)
        return Localization(
            state,
            pose,
            quality * len(group) / len(self._sightings),
            len(group),
            last.match_id,
            sure.position_m / root,
            math.radians(sure.rotation_deg) / root,
        )

    def _moved_on(self, odometry: Pose | None) -> Localization:
        """The same place, as far as the robot has driven since; less sure with the way."""
        fix, agreed = self._fix, self._agreed
        assert agreed is not None and fix.pose is not None
        known = odometry is not None and agreed.odometry is not None
        if not known or agreed.odometry_run != self._run:
            return dataclasses.replace(fix, state=State.LOCATED)
        assert odometry is not None and agreed.odometry is not None
        way_m = agreed.odometry.distance_m(odometry)
        return dataclasses.replace(
            fix,
            state=State.LOCATED,
            pose=fix.pose.compose(agreed.odometry.inverse().compose(odometry)),
            position_m=math.hypot(fix.position_m, DRIFT * way_m),
            rotation_rad=math.hypot(fix.rotation_rad, DRIFT_RAD_PER_M * way_m),
        )


def _middle(poses: list[Pose]) -> Pose:
    """The pose that is turned least from the others."""
    return min(poses, key=lambda p: sum(p.angle_deg(other) for other in poses))
