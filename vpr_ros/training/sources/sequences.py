# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Walks and drives: image sequences whose frames have a number or a pose."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.datasets.image_set import DatasetError, numbers, read_rows
from vpr_ros.training.places import PlaceSet, group_numbers, overlaps_where


@dataclasses.dataclass(frozen=True)
class SequenceConfig(Config):
    """How far from its middle a place reaches, and from where on another place begins."""

    unit: str = param("frames", "What distances count.", choices=("frames", "metres"))
    reach: float = param(2.0, "Greatest distance of a view from the middle view.", minimum=0.0)
    apart: float = param(6.0, "Places at most this far apart are never compared.", minimum=0.0)
    turn_deg: float = param(
        20.0, "With metres: greatest turn of a view.", unit="degrees", minimum=0.0, maximum=180.0
    )
    apart_turn_deg: float = param(
        60.0,
        "With metres: places turned by more than this are different, however near.",
        unit="degrees",
        minimum=0.0,
        maximum=180.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Nearer, two places could share a view and be told apart all the same.
        if self.apart < 2 * self.reach:
            raise ConfigError(
                f"Parameter 'apart' is {self.apart:g}; give at least twice 'reach' "
                f"({self.reach:g})."
            )
        if self.apart_turn_deg < 2 * self.turn_deg:
            raise ConfigError(
                f"Parameter 'apart_turn_deg' is {self.apart_turn_deg:g}; give at least twice "
                f"'turn_deg' ({self.turn_deg:g})."
            )


@dataclasses.dataclass(frozen=True)
class Shot:
    """One frame. Shots of different sites never show the same."""

    image: str
    site: str
    sequence: str
    x: float  # metres, or the number of the frame
    y: float = 0.0
    yaw_deg: float = 0.0
    group: str = ""  # what looks alike; "" for nothing


def load_sequences(path: Path, config: SequenceConfig) -> PlaceSet:
    """The places of a table whose images are named relative to it.

    Columns `image`, `sequence` and, by `config.unit`, `frame`, or `x`, `y` [m] and `yaw_deg`.
    Optional `site`: sequences that meet; without it each sequence is its own site. Optional
    `group`: what looks alike at different sites, such as the floors of a tower.
    """
    in_metres = config.unit == "metres"
    columns = ("x", "y", "yaw_deg") if in_metres else ("frame",)
    rows = read_rows(path, ("image", "sequence", *columns))
    values = numbers(rows, columns, path)
    shots = [
        Shot(
            str(path.parent / row["image"]),
            row.get("site", row["sequence"]),
            row["sequence"],
            *map(float, where),
            group=row.get("group", ""),
        )
        for row, where in zip(rows, values, strict=True)
    ]
    return places_along(path.stem, shots, config)


def places_along(name: str, shots: Sequence[Shot], config: SequenceConfig) -> PlaceSet:
    """One place around every shot that has another within reach.

    In metres, shots of one site lie in one plane. In frames, only shots of one sequence can be
    compared; other sequences of the site may show the same anywhere, so they overlap.
    """
    for shot in shots:
        if not Path(shot.image).is_file():
            raise DatasetError(f"{shot.image} does not exist. Is the data set complete?")
    plane = _Plane(shots, config)
    near = [np.flatnonzero(plane.within(i, config.reach, config.turn_deg)) for i in plane.all]
    middles = [i for i in plane.all if len(near[i]) > 1]
    views = [[shots[i].image, *(shots[j].image for j in near[i] if j != i)] for i in middles]
    overlaps = overlaps_where(len(middles), lambda place: plane.unclear(middles[place])[middles])
    groups = group_numbers([shots[i].group for i in middles])
    return PlaceSet(name, views, overlaps, groups)


class _Plane:
    """The shots as arrays, for distances from one to all."""

    def __init__(self, shots: Sequence[Shot], config: SequenceConfig) -> None:
        self._config = config
        self._xy = np.array([(s.x, s.y) for s in shots]).reshape(-1, 2)
        self._yaw_deg = np.array([s.yaw_deg for s in shots])
        self._site = group_numbers([f"/{s.site}" for s in shots])
        self._sequence = group_numbers([f"/{s.sequence}" for s in shots])
        self.all = range(len(shots))

    def within(self, i: int, distance: float, turn_deg: float) -> npt.NDArray[np.bool_]:
        """(N,) which shots are this near shot i, itself included."""
        near = np.linalg.norm(self._xy - self._xy[i], axis=1) <= distance
        turn = np.abs((self._yaw_deg - self._yaw_deg[i] + 180.0) % 360.0 - 180.0)
        same = self._site == self._site[i]
        if self._config.unit == "frames":
            same &= self._sequence == self._sequence[i]
        found: npt.NDArray[np.bool_] = near & (turn <= turn_deg) & same
        return found

    def unclear(self, i: int) -> npt.NDArray[np.bool_]:
        """(N,) the middles of places that may show what the place around shot i shows."""
        found = self.within(i, self._config.apart, self._config.apart_turn_deg)
        if self._config.unit == "frames":
            found |= (self._site == self._site[i]) & (self._sequence != self._sequence[i])
        return found
