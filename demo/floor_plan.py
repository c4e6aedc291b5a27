# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A floor plan: rectangles painted over each other on a grid, and the walls between them."""

from __future__ import annotations

import dataclasses
import itertools
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
        walls = []
        for axis, cells in enumerate((self.cells.tolist(), self.cells.T.tolist())):
            for i in range(1, len(cells)):
                pairs = zip(cells[i - 1], cells[i], strict=True)
                faces = [self._face(axis, i, j, *pair) for j, pair in enumerate(pairs)]
                begin = 0
                for face, run in itertools.groupby(faces):
                    end = begin + len(list(run))
                    if face is not None:
                        line = ((i, begin), (i, end)) if axis == 0 else ((begin, i), (end, i))
                        first, last = line if face[0] else line[::-1]
                        walls.append(Wall(*first, *last, *face[1:]))
                    begin = end
        return walls

    def _face(
        self, axis: int, i: int, j: int, before: int, after: int
    ) -> tuple[bool, int, int, str] | None:
        """Of one cell's length at line `i` of the axis: whether its wall is drawn upwards, and the
        wall's front, back and texture; None between equal cells.
        """
        if before == after:
            return None
        # On the right hand of a line drawn towards +y lies +x; towards +x lies -y.
        upward = (after != SOLID) if axis == 0 else (before != SOLID)
        front, back = (after, before) if upward == (axis == 0) else (before, after)
        texture = self.areas[front].wall
        if back == SOLID:
            # The solid cell may be a pillar with a texture of its own.
            solid = (i if after == SOLID else i - 1, j)
            texture = self.coats.get(solid if axis == 0 else solid[::-1]) or self._panel(front, j)
        return upward, front, back, texture

    def _panel(self, index: int, j: int) -> str:
        area = self.areas[index]
        return area.accent if area.accent and j // 4 % 3 == 1 else area.wall
