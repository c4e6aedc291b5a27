# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Views cut from panoramas: `polyhaven_hdri` (turned) and `home_streetview` (years apart)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from vpr_ros.core.config import Config, param
from vpr_ros.evaluation.datasets.home_streetview import REBUILT
from vpr_ros.evaluation.datasets.image_set import DatasetError, numbers, read_rows
from vpr_ros.training.places import PlaceSet, group_numbers, overlaps_where


@dataclasses.dataclass(frozen=True)
class PanoramaConfig(Config):
    """Which views of panoramas make a place."""

    turn_deg: float = param(
        30.0, "Turned views of one place.", unit="degrees", minimum=0.0, maximum=180.0
    )
    min_corners: int = param(50, "Views with fewer FAST corners are blank, left out.", minimum=0)


def load_polyhaven_hdri(path: Path, config: PanoramaConfig) -> PlaceSet:
    """Two neighbouring headings in all exposures are a place; all of one panorama overlap."""
    table = path / "frames.csv"
    rows = read_rows(table, ("image", "place", "yaw_deg", "n_fast"))
    yaw_deg, corners = numbers(rows, ("yaw_deg", "n_fast"), table).T
    panorama = group_numbers([row["place"] for row in rows])
    clear = corners >= config.min_corners
    found: list[tuple[int, list[str]]] = []  # panorama, views
    for number in np.unique(panorama):
        for heading in np.unique(yaw_deg[panorama == number]):
            turn = (yaw_deg - heading) % 360.0  # to one side only, so that all pairs are near
            chosen = np.flatnonzero((panorama == number) & clear & (turn <= config.turn_deg))
            if len(chosen) > 1:
                found.append((int(number), [_image(path, rows[i]["image"]) for i in chosen]))
    owner = np.array([number for number, _ in found])
    overlaps = overlaps_where(len(found), lambda place: owner == owner[place])
    return PlaceSet("polyhaven_hdri", [views for _, views in found], overlaps)


def load_home_streetview(path: Path, config: PanoramaConfig) -> PlaceSet:
    """One room and heading at all stages of the renovation is a place; a room overlaps itself.

    Left out: rooms that were rebuilt and panoramas without a known heading.
    """
    table = path / "frames.csv"
    rows = read_rows(table, ("image", "place", "yaw_aligned_deg", "offset_known", "n_fast"))
    rows = [r for r in rows if r["offset_known"] == "yes" and r["place"] not in REBUILT]
    yaw_deg, corners = numbers(rows, ("yaw_aligned_deg", "n_fast"), table).T
    room = group_numbers([row["place"] for row in rows])
    clear = corners >= config.min_corners
    found = []
    for number in np.unique(room):
        for heading in np.unique(yaw_deg[room == number]):
            chosen = np.flatnonzero((room == number) & (yaw_deg == heading) & clear)
            if len(chosen) > 1:
                found.append((int(number), [_image(path, rows[i]["image"]) for i in chosen]))
    owner = np.array([number for number, _ in found])
    overlaps = overlaps_where(len(found), lambda place: owner == owner[place])
    return PlaceSet("home_streetview", [views for _, views in found], overlaps)


def _image(path: Path, name: str) -> str:
    image = path / name
    if not image.is_file():
        raise DatasetError(f"{image} does not exist. Is the data set complete?")
    return str(image)
