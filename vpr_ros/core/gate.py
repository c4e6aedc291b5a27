# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames become keyframes; a frame that is not encoded costs nothing."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.keyframe import NS_PER_S
from vpr_ros.core.pose import Pose
from vpr_ros.core.recency import SESSION_WITNESSES, session_has_ended

EARLY = 0.1  # share of the interval that a frame may come early; camera stamps jitter by less
UNMEASURED = 0.03  # fallback keyframe-change threshold, for models whose file has none


@dataclasses.dataclass(frozen=True)
class GateConfig(Config):
    """When a frame is worth encoding and keeping."""

    group: ClassVar[str] = "gate"

    distance_m: float = param(
        0.5,
        "with odometry: add a keyframe after moving this far",
        unit="m",
        minimum=0.0,
        maximum=1000.0,
    )
    angle_deg: float = param(
        20.0,
        "with odometry: add a keyframe after turning this far",
        unit="deg",
        minimum=0.0,
        maximum=180.0,
    )
    interval_s: float = param(
        0.2,
        "without odometry: minimum mean time between encoded frames",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    change: float = param(
        -1.0,
        "without odometry: add a keyframe when the descriptor's cosine distance from the last "
        "keyframe reaches this; -1: the value in the model file",
        minimum=-1.0,
        maximum=2.0,
    )


@dataclasses.dataclass(frozen=True)
class _View:
    stamp_ns: int
    pose: Pose | None
    descriptor: npt.NDArray[np.float32] | None


class KeyframeGate:
    """Decides before encoding (`wants`) and again afterwards (`accepts`)."""

    def __init__(self, config: GateConfig) -> None:
        """`config` may be replaced at any time."""
        self.config = config
        self._kept: _View | None = None
        # Stamps of the last decoded frames, and when these were due. Several, because one stamp
        # may be wrong or come from a second publisher.
        self._looked_ns: deque[int] = deque(maxlen=SESSION_WITNESSES)
        self._due_ns: deque[int] = deque(maxlen=SESSION_WITNESSES)

    def reset(self) -> None:
        """Forget the last keyframe, so that the next frame becomes one."""
        self._kept = None
        self._looked_ns.clear()
        self._due_ns.clear()

    def wants(self, stamp_ns: int, pose: Pose | None) -> bool:
        """Whether a frame is worth encoding; `pose` is None without odometry."""
        if self._kept is None or session_has_ended(stamp_ns, self._looked_ns):
            return True  # the first frame, or time has stepped back
        if pose is not None and self._kept.pose is not None:
            return self._moved(pose, self._kept.pose)
        return self.is_due(stamp_ns)

    def is_due(self, stamp_ns: int) -> bool:
        """Whether the interval has passed since the last decoded frames.

        A frame may be slightly early, because the next one can be a whole camera period late.
        """
        early = (1 - EARLY) * self.config.interval_s * NS_PER_S
        return all(abs(stamp_ns - due) >= early for due in self._due_ns)

    def looked_at(self, stamp_ns: int) -> None:
        """Note that a frame was decoded, whether or not it becomes a keyframe."""
        if session_has_ended(stamp_ns, self._looked_ns):
            self.reset()
        interval = round(self.config.interval_s * NS_PER_S)
        # The due time advances by the interval, so jitter does not lower the rate. It starts anew
        # after a pause.
        planned = (
            max((due for due in self._due_ns if due <= stamp_ns), default=stamp_ns) + interval
        )
        on_time = planned - EARLY * interval <= stamp_ns < planned + interval
        self._looked_ns.append(stamp_ns)
        self._due_ns.append(planned if on_time else stamp_ns)

    def accepts(
        self,
        stamp_ns: int,
        pose: Pose | None,
        descriptor: npt.NDArray[np.float32],
        own_change: float = 0.0,
    ) -> bool:
        """Whether the encoded frame is a keyframe; if so, the next frames are compared with it.

        `descriptor` (D,) has unit length; `own_change` is `change` of the model's contract. With
        odometry, the motion alone decides.
        """
        change = self.config.change if self.config.change >= 0.0 else own_change or UNMEASURED
        self.looked_at(stamp_ns)
        kept = self._kept
        new = (
            kept is None
            or (pose is not None and kept.pose is not None)
            or kept.descriptor is None
            or kept.descriptor.shape != descriptor.shape
            # Rounding may take the cosine of equal views above 1; `change` 0 accepts these, too.
            or 1.0 - float(np.clip(kept.descriptor @ descriptor, -1.0, 1.0)) >= change
        )
        if new:
            self._kept = _View(stamp_ns, pose, descriptor)
        return new

    def _moved(self, pose: Pose, last: Pose) -> bool:
        return (
            pose.distance_m(last) >= self.config.distance_m
            or pose.angle_deg(last) >= self.config.angle_deg
        )
