# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A floor plan: rectangles painted over each other on a grid, and the walls between them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

CELL_M = 0.5  # every corner of the plan lies on this grid
SOLID = -1


@dataclasses.dataclass(frozen=True)
class Area:
    """A rectangle with one look, in metres; `height_m` 0 makes it a pillar of texture `wall`.

    A later area covers an earlier one. Textures are names from the Freedoom resource file.
    """

    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    wall: str
    floor: str = "FLAT5_4"
    ceiling: str = "CEIL3_5"
    light: int = 176  # 0 (black) to 255
    height_m: float = 4.0  # ceiling over the ground level 0
    floor_m: float = 0.0  # a crate or a step where > 0, a pool where < 0
    accent: str = ""  # texture of every third 2 m wall panel; "" for none
    curtain: str = ""  # texture that hangs in its openings, to be driven through; "" for none
    turned: bool = False  # textures of floor and ceiling by half a turn


@dataclasses.dataclass(frozen=True)
class Thing:
    """A decoration at (x, y) metres; `kind` is its editor number in Doom."""

    kind: int
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Wall:
    """A straight wall from (x0, y0) to (x1, y1), grid units; `front` is on its right."""

    x0: int
    y0: int
    x1: int
    y1: int
    front: int  # index of an area
    back: int  # index of an area, SOLID for none
    texture: str  # of the closed part


class Plan:
    """The painted grid: the area that each cell belongs to."""

    def __init__(self, areas: tuple[Area, ...], things: tuple[Thing, ...]) -> None:
        self.areas = areas
        self.things = things
        self.origin = (min(a.x0 for a in areas) - 1.0, min(a.y0 for a in areas) - 1.0)
        width = max(a.x1 for a in areas) + 1.0 - self.origin[0]
        height = max(a.y1 for a in areas) + 1.0 - self.origin[1]
        shape = (round(width / CELL_M), round(height / CELL_M))
        self.cells = np.full(shape, SOLID, dtype=np.int32)  # (X, Y)
        self.coats: dict[tuple[int, int], str] = {}  # textures of solid areas by cell
        for index, area in enumerate(areas):
            i0, j0 = self.cell(area.x0, area.y0)
            i1, j1 = self.cell(area.x1, area.y1)
            if area.height_m == 0.0:
                self.cells[i0:i1, j0:j1] = SOLID
                self.coats |= {(i, j): area.wall for i in range(i0, i1) for j in range(j0, j1)}
            else:
                self.cells[i0:i1, j0:j1] = index

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """The grid cell of a point in metres."""
        return (
            math.floor((x - self.origin[0]) / CELL_M + 1e-6),
            math.floor((y - self.origin[1]) / CELL_M + 1e-6),
        )

    def area_at(self, x: float, y: float) -> Area | None:
        """The area under a point in metres; None inside a wall."""
        index = int(self.cells[self.cell(x, y)])
        return None if index == SOLID else self.areas[index]

    def walls(self) -> list[Wall]:
        """Every boundary between different areas; equal neighbours are joined into one wall."""
        walls: list[Wall] = []
        for axis in (0, 1):
            cells = self.cells if axis == 0 else self.cells.T
            for i in range(1, cells.shape[0]):
                run: Wall | None = None
                for j in range(cells.shape[1]):
                    piece = self._piece(axis, i, j, int(cells[i - 1, j]), int(cells[i, j]))
                    joined = _join(run, piece)
                    if joined is None and run is not None:
                        walls.append(run)
                    run = joined or piece
                if run is not None:
                    walls.append(run)
        return walls

    def _piece(self, axis: int, i: int, j: int, before: int, after: int) -> Wall | None:
        """The wall of one cell's length at line `i` of the axis; None between equal cells."""
        if before == after:
            return None
        # On the right hand of a line drawn towards +y lies +x; towards +x lies -y.
        upward = (after != SOLID) if axis == 0 else (before != SOLID)
        right, left = (after, before) if axis == 0 else (before, after)
        front, back = (right, left) if upward else (left, right)
        ends = ((i, j), (i, j + 1)) if axis == 0 else ((j, i), (j + 1, i))
        start, end = ends if upward else ends[::-1]
        # The solid cell, if any, may be a pillar with a texture of its own.
        solid_i = i if after == SOLID else i - 1
        solid_cell = (solid_i, j) if axis == 0 else (j, solid_i)
        texture = self.areas[front].wall
        if back == SOLID:
            texture = self.coats.get(solid_cell) or self._panel(front, j)
        return Wall(*start, *end, front, back, texture)

    def _panel(self, index: int, j: int) -> str:
        area = self.areas[index]
        return area.accent if area.accent and j // 4 % 3 == 1 else area.wall


def _join(run: Wall | None, piece: Wall | None) -> Wall | None:
    """The two as one wall; None if they do not continue each other."""
    if run is None or piece is None:
        return None
    if (run.front, run.back, run.texture) != (piece.front, piece.back, piece.texture):
        return None
    if (run.x1, run.y1) == (piece.x0, piece.y0):
        return dataclasses.replace(run, x1=piece.x1, y1=piece.y1)
    if (run.x0, run.y0) == (piece.x1, piece.y1):
        return dataclasses.replace(run, x0=piece.x0, y0=piece.y0)
    return None
