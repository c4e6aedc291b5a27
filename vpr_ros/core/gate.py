# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames become keyframes; a frame that is not encoded costs nothing."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.keyframe import NS_PER_S
from vpr_ros.core.pose import Pose

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
        "without odometry: shortest time between encoded frames",
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
        self._encoded_ns = 0

    def reset(self) -> None:
        """Forget the last keyframe, so that the next frame becomes one."""
        self._kept = None

    def wants(self, stamp_ns: int, pose: Pose | None) -> bool:
        """Whether a frame is worth encoding; `pose` is None without odometry."""
        if self._kept is None or stamp_ns < max(self._kept.stamp_ns, self._encoded_ns):
            return True  # the first frame, or time has jumped back
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
        """Whether the encoded frame is a keyframe; if so, the next frames are compared with it.

        `descriptor` (D,) has unit length; `own_change` is `change` of the model's contract. With
        odometry the motion alone decides.
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
