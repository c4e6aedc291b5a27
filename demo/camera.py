# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's camera: it stands where the route says, in the level made of the floor plan."""

from __future__ import annotations

import math

import numpy as np

from demo.doom_level import textmap, wad
from demo.floor_plan import Plan
from demo.vizdoom_game import UNITS_PER_M, RenderError, VizdoomGame

WIDTH, HEIGHT = 640, 480  # px
FOCAL_PX = WIDTH / 2.0  # the horizontal field of view is 90 degrees
POSE_TOLERANCE_M, POSE_TOLERANCE_DEG = 0.03, 0.1


class Camera(VizdoomGame):
    """Takes pictures of a plan; use it in a `with` block."""

    def __init__(self, plan: Plan, start: tuple[float, float], seed: int = 1) -> None:
        level = wad(textmap(plan, start))
        super().__init__("freedoom2", "MAP01", seed, f"{WIDTH}X{HEIGHT}", wad=level)
        self._plan = plan

    def __enter__(self) -> Camera:
        return self

    def picture(self, x_m: float, y_m: float, yaw_rad: float) -> np.ndarray:
        """The view (480, 640, 3) uint8 BGR from a pose; RenderError if it cannot be taken."""
        wanted = f"({x_m:.2f}, {y_m:.2f}) m, {math.degrees(yaw_rad):.1f} degrees"
        if self._plan.area_at(x_m, y_m) is None:
            raise RenderError(f"The pose {wanted} lies inside a wall; keep the route off walls.")
        # The console takes whole units: the picture is at most 0.022 m off the pose.
        view = self.view(round(x_m * UNITS_PER_M), round(y_m * UNITS_PER_M), math.degrees(yaw_rad))
        if view is None:
            raise RenderError(f"The engine shows nothing from {wanted}; start the demo again.")
        off_m = math.hypot(view.x / UNITS_PER_M - x_m, view.y / UNITS_PER_M - y_m)
        off_deg = abs(math.remainder(view.yaw_deg - math.degrees(yaw_rad), 360.0))
        if off_m > POSE_TOLERANCE_M or off_deg > POSE_TOLERANCE_DEG:
            raise RenderError(
                f"The camera stands {off_m:.2f} m and {off_deg:.1f} degrees away from {wanted}; "
                "this route needs vizdoom 1.3."
            )
        return view.image
