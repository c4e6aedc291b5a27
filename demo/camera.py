# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's camera, in a Doom level made of the floor plan, and the light of its pictures.

Format: "Universal Doom Map Format", version 1.1, namespace zdoom, in a WAD file as the ZDoom
engine reads it; the engine builds the nodes.
"""

from __future__ import annotations

import dataclasses
import math
import struct

import cv2
import numpy as np

from demo.floor_plan import CELL_M, SOLID, Plan
from demo.vizdoom_game import UNITS_PER_M, RenderError, VizdoomGame

WIDTH, HEIGHT = 640, 480  # px
FOCAL_PX = WIDTH / 2.0  # the horizontal field of view is 90 degrees
POSE_TOLERANCE_M, POSE_TOLERANCE_DEG = 0.03, 0.1
UNITS_PER_M_UP = UNITS_PER_M / 1.2  # Doom draws heights 1.2 times as large; the eye is at 1.5 m
PLAYER_START = 1
LEVEL = 'map MAP01 "vpr_ros demo" { sky1 = "P-SKY1" }'
FLAGS = "skill1=true;skill2=true;skill3=true;skill4=true;skill5=true;single=true;"


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


@dataclasses.dataclass(frozen=True)
class Shade:
    """A change of tone, applied the same way to every picture of a lap."""

    gamma: float = 1.0  # above 1 darkens the middle tones
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # B, G, R
    blur_px: float = 0.0  # sigma
    noise: float = 0.0  # sigma in grey levels

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The picture (H, W, 3) uint8 BGR under this light; the noise is drawn from `rng`."""
        tones = np.linspace(0.0, 1.0, 256) ** self.gamma * 255.0
        table = np.clip(np.outer(tones, self.gain).round(), 0, 255).astype(np.uint8)
        shaded = cv2.LUT(image, table[:, np.newaxis, :])
        if self.blur_px > 0.0:
            shaded = cv2.GaussianBlur(shaded, (0, 0), self.blur_px)
        if self.noise > 0.0:
            # Sensor noise; one channel for all three costs a third and looks the same.
            grain = rng.normal(0.0, self.noise, shaded.shape[:2]).astype(np.float32)
            noisy = shaded.astype(np.float32) + grain[..., np.newaxis]
            shaded = np.clip(noisy, 0, 255).astype(np.uint8)
        return np.asarray(shaded)


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
