# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a user may say about a data set."""

from __future__ import annotations

import dataclasses

from vpr_ros.core.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class DatasetOptions:
    """How right answers are told, where the data set itself does not say it."""

    radius_m: float = 25.0  # of positions; the custom of the field
    # Of aligned folders. VPR-Bench and others count 1; Patch-NetVLAD's Nordland counts 10.
    frames: int = 1
    database: str = ""  # name of the folder; empty: the usual ones
    queries: str = ""
    # Of sets that come in parts: MSLS's cities, ie_tower's split; empty: the one for testing.
    part: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.radius_m < float("inf"):
            raise ConfigError(f"radius is {self.radius_m}; give metres, 0 or more.")
        if self.frames < 0:
            raise ConfigError(f"frames is {self.frames}; give 0 or more.")
