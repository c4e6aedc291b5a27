# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot truly was, and what therefore is a loop."""

from __future__ import annotations

import csv
import dataclasses
import math
from decimal import Decimal
from pathlib import Path

from vpr_ros.core.database import DatabaseConfig
from vpr_ros.core.errors import VprError

RADIUS_M = 3.0
HEADING_DEG = 45.0
EXCLUSION_S = DatabaseConfig().exclude_recent_s


@dataclasses.dataclass(frozen=True)
class View:
    """The true pose of one image."""

    stamp_ns: int
    x_m: float
    y_m: float
    yaw_rad: float
    lap: int = 1
    section: str = ""

    def distance_m(self, other: View) -> float:
        """Between the two positions."""
        return math.hypot(self.x_m - other.x_m, self.y_m - other.y_m)

    def turn_deg(self, other: View) -> float:
        """Between the two headings, 0 to 180."""
        return abs(math.degrees(math.remainder(self.yaw_rad - other.yaw_rad, math.tau)))

    def shows(self, other: View) -> bool:
        """Do both show one place: within RADIUS_M and HEADING_DEG?"""
        return self.distance_m(other) <= RADIUS_M and self.turn_deg(other) <= HEADING_DEG


class Truth:
    """The views of a drive by stamp."""

    def __init__(self, views: list[View]) -> None:
        """`views` in order of time."""
        self.views = views
        self._by_stamp = {view.stamp_ns: view for view in views}

    @classmethod
    def read(cls, path: Path) -> Truth:
        """From route.csv."""
        with path.open(newline="") as file:
            return cls(
                [
                    View(
                        int(Decimal(row["stamp_s"]) * 10**9),  # a float would lose the nanoseconds
                        *(float(row[key]) for key in ("x_m", "y_m", "yaw_rad")),
                        int(row["lap"]),
                        row["section"],
                    )
                    for row in csv.DictReader(file)
                ]
            )

    def at(self, stamp_ns: int) -> View:
        """The view taken at exactly this stamp; VprError if there is none."""
        if stamp_ns not in self._by_stamp:
            raise VprError(
                f"No image of the drive has the stamp {stamp_ns} ns; route.csv, play.json and the "
                "recorded bag do not belong together. Run the demo anew."
            )
        return self._by_stamp[stamp_ns]


def is_loop(query: View, match: View) -> bool:
    """Is it right to close a loop from `query` to `match`?"""
    return match.stamp_ns < query.stamp_ns - EXCLUSION_S * 1e9 and query.shows(match)
