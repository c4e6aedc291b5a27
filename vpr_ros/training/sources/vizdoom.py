# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places rendered with ViZDoom, whose poses are exact."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from vpr_ros.core.config import Config, param
from vpr_ros.evaluation.datasets.image_set import DatasetError, numbers, read_rows
from vpr_ros.training.places import PlaceSet, group_numbers, overlaps_where

COLUMNS = ("image", "map", "place", "x_m", "y_m", "yaw_deg")
TABLE = "places.csv"


@dataclasses.dataclass(frozen=True)
class RenderedConfig(Config):
    """From where on two rendered places are different."""

    apart_m: float = param(5.0, "Places nearer than this ...", unit="m", minimum=0.0)
    apart_turn_deg: float = param(
        60.0,
        "... and turned by less than this are never compared.",
        unit="degrees",
        minimum=0.0,
        maximum=180.0,
    )


def load_vizdoom(path: Path, config: RenderedConfig) -> PlaceSet:
    """The places that `tools.render_places` wrote into a folder; those of one map look alike."""
    tables = sorted(path.glob(f"[!.]*/{TABLE}"))  # hidden: cut off
    if not tables:
        raise DatasetError(
            f"{path} holds no rendered places; make them with "
            f"`python -m tools.render_places {path}`."
        )
    places: dict[tuple[str, str], list[str]] = {}
    poses: dict[tuple[str, str], tuple[float, ...]] = {}
    for table in tables:
        rows = read_rows(table, COLUMNS)
        for row, pose in zip(rows, numbers(rows, ("x_m", "y_m", "yaw_deg"), table), strict=True):
            key = (row["map"], row["place"])
            places.setdefault(key, []).append(str(table.parent / row["image"]))
            poses[key] = tuple(map(float, pose))
    x_m, y_m, yaw_deg = np.array(list(poses.values())).reshape(-1, 3).T
    level = group_numbers([name for name, _ in places])

    def near(place: int) -> np.ndarray:
        far = np.hypot(x_m - x_m[place], y_m - y_m[place]) >= config.apart_m
        turn = np.abs((yaw_deg - yaw_deg[place] + 180.0) % 360.0 - 180.0)
        return (level == level[place]) & ~far & (turn < config.apart_turn_deg)

    return PlaceSet("vizdoom", list(places.values()), overlaps_where(len(places), near), level)
