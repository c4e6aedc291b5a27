# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Poses of the robot, and a buffer that gives the pose at the stamp of an image."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import deque
from collections.abc import Iterable

import numpy as np

from vpr_ros.core.recency import SESSION_WITNESSES, session_has_ended

FARTHEST_M = 1e9  # from the origin; beyond, squares of distances lose what matters
JUMP_M, FASTEST_MPS = 1.0, 50.0  # an odometry that moves more has been reset, or its pose is wrong


@dataclasses.dataclass(frozen=True)
class Pose:
    """Pose of the robot in a fixed frame: position [m] and unit quaternion."""

    x: float
    y: float
    z: float
    qx: float
    qy: float
    qz: float
    qw: float

    @classmethod
    def planar(cls, x: float, y: float, yaw: float) -> Pose:
        """Pose on the ground plane; `yaw` in rad."""
        return cls(x, y, 0.0, 0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))

    @property
    def yaw(self) -> float:
        """Heading about the vertical axis [rad]."""
        return math.atan2(
            2 * (self.qw * self.qz + self.qx * self.qy),
            self.qw**2 + self.qx**2 - self.qy**2 - self.qz**2,
        )

    def compose(self, other: Pose) -> Pose:
        """The pose `other`, given in the frame of this pose, in the fixed frame."""
        x, y, z = self._turned(other.x, other.y, other.z)
        a, b = self, other
        return Pose(
            self.x + x,
            self.y + y,
            self.z + z,
            a.qw * b.qx + a.qx * b.qw + a.qy * b.qz - a.qz * b.qy,
            a.qw * b.qy - a.qx * b.qz + a.qy * b.qw + a.qz * b.qx,
            a.qw * b.qz + a.qx * b.qy - a.qy * b.qx + a.qz * b.qw,
            a.qw * b.qw - a.qx * b.qx - a.qy * b.qy - a.qz * b.qz,
        )

    def inverse(self) -> Pose:
        """The pose of the fixed frame in the frame of this pose."""
        turn = Pose(0.0, 0.0, 0.0, -self.qx, -self.qy, -self.qz, self.qw)
        x, y, z = turn._turned(-self.x, -self.y, -self.z)
        return Pose(x, y, z, turn.qx, turn.qy, turn.qz, turn.qw)

    def _turned(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """A vector, turned by the rotation."""
        qx, qy, qz, qw = self.qx, self.qy, self.qz, self.qw
        tx, ty, tz = 2 * (qy * z - qz * y), 2 * (qz * x - qx * z), 2 * (qx * y - qy * x)
        return (
            x + qw * tx + qy * tz - qz * ty,
            y + qw * ty + qz * tx - qx * tz,
            z + qw * tz + qx * ty - qy * tx,
        )

    def distance_m(self, other: Pose) -> float:
        """Euclidean distance between the positions [m]."""
        return math.dist((self.x, self.y, self.z), (other.x, other.y, other.z))

    def angle_deg(self, other: Pose) -> float:
        """Angle of the rotation between the two [deg], 0 to 180."""
        # Normalised: a quaternion that is 1 % too short would read as a turn of 23 degrees.
        cosine = abs(self._dot(other)) / math.sqrt(self._dot(self) * other._dot(other))
        return math.degrees(2 * math.acos(min(1.0, cosine)))

    def between(self, other: Pose, t: float) -> Pose:
        """Interpolate position and rotation linearly; t = 0 is self, t = 1 is other."""
        sign = 1.0 if self._dot(other) >= 0 else -1.0
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        position = [(1 - t) * a + t * b for a, b in zip(mine[:3], theirs[:3], strict=True)]
        rotation = [(1 - t) * a + t * sign * b for a, b in zip(mine[3:], theirs[3:], strict=True)]
        norm = math.hypot(*rotation)
        return Pose(*position, *(value / norm for value in rotation))

    @property
    def values(self) -> tuple[float, float, float, float, float, float, float]:
        """The values x y z qx qy qz qw."""
        return self.x, self.y, self.z, self.qx, self.qy, self.qz, self.qw

    @property
    def unit(self) -> Pose:
        """The same pose with a quaternion of length 1."""
        norm = math.sqrt(self._dot(self))
        return Pose(*self.values[:3], *(value / norm for value in self.values[3:]))

    @property
    def is_valid(self) -> bool:
        """False for NaN, the all-zero quaternion of an unset message, and absurd values."""
        values = dataclasses.astuple(self)
        near = all(abs(value) <= FARTHEST_M for value in values[:3])
        return near and 0.5 < math.hypot(*values[3:]) < 2.0

    def _dot(self, other: Pose) -> float:
        return self.qx * other.qx + self.qy * other.qy + self.qz * other.qz + self.qw * other.qw


def rows_of(poses: Iterable[Pose]) -> np.ndarray:
    """Poses as an array (N, 7) x y z qx qy qz qw, for the functions below."""
    return np.array([pose.values for pose in poses]).reshape(-1, 7)


def compose_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`Pose.compose` row by row, (N, 7); either may be a single pose, (7,)."""
    u, w = a[..., 3:6], a[..., 6:]
    v, s = b[..., 3:6], b[..., 6:]
    t = 2 * np.cross(u, b[..., :3])
    position = a[..., :3] + b[..., :3] + w * t + np.cross(u, t)
    scalar = w * s - (u * v).sum(axis=-1, keepdims=True)
    return np.concatenate([position, w * v + s * u + np.cross(u, v), scalar], axis=-1)


def inverse_rows(a: np.ndarray) -> np.ndarray:
    """`Pose.inverse` row by row."""
    back = a * (-1, -1, -1, 0, 0, 0, 0) + (0, 0, 0, 0, 0, 0, 1)
    return compose_rows(a * (0, 0, 0, -1, -1, -1, 1), back)


def apart_rows(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [m] and angle [deg] between the poses of two arrays, row by row."""
    between = compose_rows(inverse_rows(a), b)
    turn = np.linalg.norm(between[..., 3:6], axis=-1), np.abs(between[..., 6])
    return np.linalg.norm(between[..., :3], axis=-1), np.degrees(2 * np.arctan2(*turn))


def between_rows(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Poses between `a` and `b`, (N, 7), at a share (N,) of the way, along a screw motion."""
    step, s = compose_rows(inverse_rows(a), b), share[:, None]
    step[:, 3:] *= np.where(step[:, 6:] < 0, -1.0, 1.0)  # the shorter turn
    sine = np.linalg.norm(step[:, 3:6], axis=1, keepdims=True)
    half = np.arctan2(sine, step[:, 6:])  # of the angle
    axis = step[:, 3:6] / np.maximum(sine, 1e-12)
    along = axis * (axis * step[:, :3]).sum(axis=1, keepdims=True)
    ratio = np.where(sine > 1e-9, np.sin(s * half) / np.maximum(sine, 1e-9), s)
    across = np.cos((s - 1) * half) * (step[:, :3] - along)
    across += np.sin((s - 1) * half) * np.cross(axis, step[:, :3])
    turn = [axis * np.sin(s * half), np.cos(s * half)]
    return compose_rows(a, np.concatenate([s * along + ratio * across, *turn], axis=1))


class PoseBuffer:
    """The latest poses of one odometry source, by stamp."""

    def __init__(self, tolerance_s: float = 0.2, capacity: int = 1000) -> None:
        """Keep `capacity` poses; a pose is known up to `tolerance_s` before and after each."""
        self.tolerance_ns = int(tolerance_s * 1e9)
        self.frame = ""  # in which the poses are given
        self.jumps = 0  # times that the odometry went on from another place
        self._capacity = capacity
        self._stamps: list[int] = []  # rising
        self._poses: list[Pose] = []
        self._arrived_ns: deque[int] = deque(maxlen=SESSION_WITNESSES)
        self._doubted: tuple[int, Pose] | None = None  # a jump, until the next pose confirms it
        self._last_is_valid = True

    def add(self, stamp_ns: int, pose: Pose, frame: str = "") -> None:
        """Add a pose at its place in time; it replaces one with the same stamp.

        An invalid pose is ignored, and so is a single pose that no robot can have reached. If time
        restarts, the frame changes or a jump persists, the buffer is emptied first.
        """
        self._last_is_valid = pose.is_valid
        if not pose.is_valid:
            return
        if session_has_ended(stamp_ns, self._arrived_ns) or frame != self.frame:
            self._clear()
        self.frame = frame
        self._arrived_ns.append(stamp_ns)
        place = bisect.bisect_left(self._stamps, stamp_ns)
        if place and _is_jump(self._stamps[place - 1], self._poses[place - 1], stamp_ns, pose):
            if self._doubted is None or _is_jump(*self._doubted, stamp_ns, pose):
                self._doubted = stamp_ns, pose
                return
            self._clear()
            self.jumps += 1
            place = 0
        self._doubted = None
        if self._stamps[place : place + 1] == [stamp_ns]:
            self._poses[place] = pose
            return
        self._stamps.insert(place, stamp_ns)
        self._poses.insert(place, pose)
        if len(self._stamps) > self._capacity:
            # Usually the oldest; but single stamps may lie far ahead.
            end = 0 if stamp_ns - self._stamps[0] >= self._stamps[-1] - stamp_ns else -1
            del self._stamps[end], self._poses[end]

    def at(self, stamp_ns: int) -> Pose | None:
        """The pose at a stamp, interpolated; None if no pose is close enough in time."""
        after = bisect.bisect_left(self._stamps, stamp_ns)
        around = [i for i in (after - 1, after) if 0 <= i < len(self._stamps)]
        if not around or all(abs(self._stamps[i] - stamp_ns) > self.tolerance_ns for i in around):
            return None
        if len(around) == 1:
            return self._poses[around[0]]
        first, second = around
        span = self._stamps[second] - self._stamps[first]
        if span > 2 * self.tolerance_ns:
            nearest = min(around, key=lambda i: abs(self._stamps[i] - stamp_ns))
            return self._poses[nearest]
        t = (stamp_ns - self._stamps[first]) / span
        return self._poses[first].between(self._poses[second], t)

    def why_none(self, stamp_ns: int) -> str:
        """Why there is no pose at a stamp although poses arrive; empty before the first one."""
        if not self._last_is_valid:
            return "its poses are not valid: NaN, or a quaternion of zeros"
        if not self._stamps:
            return ""
        nearest_ns = min(self._stamps, key=lambda ns: abs(ns - stamp_ns))
        return (
            f"the nearest stamp is {abs(nearest_ns - stamp_ns) * 1e-9:.3g} s "
            f"{'before' if nearest_ns < stamp_ns else 'after'} the image's; at most "
            f"{self.tolerance_ns * 1e-9:g} s are tolerated"
        )

    def _clear(self) -> None:
        self._stamps.clear()
        self._poses.clear()
        self._arrived_ns.clear()
        self._doubted = None


def _is_jump(before_ns: int, before: Pose, after_ns: int, after: Pose) -> bool:
    """Whether a robot cannot have come from one pose to the other."""
    seconds = abs(after_ns - before_ns) * 1e-9
    return before.distance_m(after) > JUMP_M + FASTEST_MPS * seconds
