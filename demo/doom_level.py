# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A floor plan as a Doom level: UDMF text inside a WAD file, as the ZDoom engine reads it.

Format: "Universal Doom Map Format", version 1.1, namespace zdoom; the engine builds the nodes.
"""

from __future__ import annotations

import struct

from demo.floor_plan import CELL_M, SOLID, Plan
from demo.vizdoom_game import UNITS_PER_M

UNITS_PER_M_UP = UNITS_PER_M / 1.2  # Doom draws heights 1.2 times as large; the eye is at 1.5 m
PLAYER_START = 1
LEVEL = 'map MAP01 "vpr_ros demo" { sky1 = "P-SKY1" }'
FLAGS = "skill1=true;skill2=true;skill3=true;skill4=true;skill5=true;single=true;"


def textmap(plan: Plan, start: tuple[float, float]) -> str:
    """The UDMF text of a plan; the camera begins at `start` (metres)."""
    grid_units = round(CELL_M * UNITS_PER_M)
    origin_units = [round(value * UNITS_PER_M) for value in plan.origin]
    vertices: dict[tuple[int, int], int] = {}
    blocks = ['namespace="zdoom";']
    lines: list[str] = []
    sides: list[str] = []
    for wall in plan.walls():
        ends = [
            vertices.setdefault(corner, len(vertices))
            for corner in ((wall.x0, wall.y0), (wall.x1, wall.y1))
        ]
        line = f"v1={ends[0]};v2={ends[1]};sidefront={len(sides)};"
        if wall.back == SOLID:
            sides.append(f'sector={wall.front};texturemiddle="{wall.texture}";')
            line += "blocking=true;"
        else:
            # Steps and lintels show the texture of the area that makes them.
            front, back = plan.areas[wall.front], plan.areas[wall.back]
            step = (front if front.floor_m > back.floor_m else back).wall
            lintel = (front if front.height_m < back.height_m else back).wall
            line += f"sideback={len(sides) + 1};twosided=true;"
            hung = front.curtain or back.curtain
            sides += [
                f'sector={index};texturebottom="{step}";texturetop="{lintel}";'
                f'texturemiddle="{hung or "-"}";'
                for index in (wall.front, wall.back)
            ]
        lines.append(line)
    corners = sorted(vertices, key=vertices.__getitem__)
    for i, j in corners:
        x, y = origin_units[0] + i * grid_units, origin_units[1] + j * grid_units
        blocks.append(f"vertex{{x={x};y={y};}}")
    blocks += [f"linedef{{{line}}}" for line in lines]
    blocks += [f"sidedef{{{side}}}" for side in sides]
    for area in plan.areas:
        turn = "rotationfloor=180.0;rotationceiling=180.0;" if area.turned else ""
        blocks.append(
            f"sector{{heightfloor={round(area.floor_m * UNITS_PER_M_UP)};"
            f"heightceiling={round(area.height_m * UNITS_PER_M_UP)};lightlevel={area.light};"
            f'texturefloor="{area.floor}";textureceiling="{area.ceiling}";{turn}}}'
        )
    things = [(PLAYER_START, *start), *((t.kind, t.x, t.y) for t in plan.things)]
    blocks += [
        f"thing{{x={x * UNITS_PER_M:.1f};y={y * UNITS_PER_M:.1f};angle=0;type={kind};{FLAGS}}}"
        for kind, x, y in things
    ]
    return "\n".join(blocks) + "\n"


def wad(text: str) -> bytes:
    """A patch WAD with a single level, MAP01."""
    lumps = [(b"ZMAPINFO", LEVEL.encode("ascii")), (b"MAP01", b"")]
    lumps += [(b"TEXTMAP", text.encode("ascii")), (b"ENDMAP", b"")]
    body, directory, offset = b"", b"", 12
    for name, data in lumps:
        directory += struct.pack("<ii8s", offset, len(data), name)
        body += data
        offset += len(data)
    return struct.pack("<4sii", b"PWAD", len(lumps), offset) + body + directory
