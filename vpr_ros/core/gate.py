# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames become keyframes: what is not encoded costs nothing."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.keyframe import NS_PER_S
from vpr_ros.core.pose import Pose

UNMEASURED = 0.03  # of models whose file does not say from when on a view is another


@dataclasses.dataclass(frozen=True)
class GateConfig(Config):
    """When a frame is worth encoding and keeping."""

    group: ClassVar[str] = "gate"

    distance_m: float = param(
        0.5, "with odometry: a new keyframe after this way", unit="m", minimum=0.0, maximum=1000.0
    )
    angle_deg: float = param(
        20.0, "with odometry: or after this turn", unit="deg", minimum=0.0, maximum=180.0
    )
    interval_s: float = param(
        0.2, "without odometry: encode at most this often", unit="s", minimum=0.0, maximum=3600.0
    )
    change: float = param(
        -1.0,
        "without odometry: keep a frame whose descriptor differs from the last keyframe's by "
        "this cosine distance; -1: the model's own",
        minimum=-1.0,
        maximum=2.0,
    )


@dataclasses.dataclass(frozen=True)
class _View:
    stamp_ns: int
    pose: Pose | None
    descriptor: npt.NDArray[np.float32] | None


class KeyframeGate:
    """Decides before encoding (`wants`) and once more after it (`accepts`)."""

    def __init__(self, config: GateConfig) -> None:
        """`config` may be replaced at any time."""
        self.config = config
        self._kept: _View | None = None
        self._encoded_ns = 0

    def reset(self) -> None:
        """Forget the last keyframe: the next frame is one (new map, new model)."""
        self._kept = None

    def wants(self, stamp_ns: int, pose: Pose | None) -> bool:
        """Is this frame worth encoding? `pose` is None without odometry."""
        if self._kept is None or stamp_ns < max(self._kept.stamp_ns, self._encoded_ns):
            return True  # the first frame, or time has jumped back: start anew
        if pose is not None and self._kept.pose is not None:
            return self._moved(pose, self._kept.pose)
        return stamp_ns - self._encoded_ns >= self.config.interval_s * NS_PER_S

    def accepts(
        self,
        stamp_ns: int,
        pose: Pose | None,
        descriptor: npt.NDArray[np.float32],
        own_change: float = 0.0,
    ) -> bool:
        """Is the encoded frame a keyframe? If so it is the one the next are compared with.

        `descriptor` (D,) has unit length; `own_change` is that of its model, 0 if it was not
        measured. With odometry the motion has already decided.
        """
        change = self.config.change if self.config.change >= 0.0 else own_change or UNMEASURED
        self._encoded_ns = stamp_ns
        kept = self._kept
        new = (
            kept is None
            or stamp_ns < kept.stamp_ns
            or (pose is not None and kept.pose is not None)
            or kept.descriptor is None
            or kept.descriptor.shape != descriptor.shape
            or 1.0 - float(kept.descriptor @ descriptor) >= change
        )
        if new:
            self._kept = _View(stamp_ns, pose, descriptor)
        return new

    def _moved(self, pose: Pose, last: Pose) -> bool:
        return (
            pose.distance_m(last) >= self.config.distance_m
            or pose.angle_deg(last) >= self.config.angle_deg
        )
