# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Image sets to fit the confidence on; none of them is in a table of results.

Floors of `ie_tower` that its test does not use, and rendered buildings: the demo's floor plan
mirrored, with other textures, things and light. One of them has two identical corridors.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import vizdoom

from bench.closure_sets import ClosureSet, View
from demo.building import building, corridor, opposite
from demo.camera import Camera, Shade
from demo.drive import IMAGE_HZ, ODOM_HZ, DrivePose, drive
from demo.floor_plan import Area, Plan, Thing
from vpr_ros.core.pose import Pose

BUILDINGS = {"building 1": False, "building 2": False, "building 3": True}  # identical corridors?
STEP_M, STEP_DEG = 0.5, 20.0  # between keyframes
RADIUS_M, RADIUS_DEG = 3.0, 45.0  # a closure within these is right
SCALE_PER_DEG = 0.03  # error of the distances for each degree per metre of drift
SHADES = (
    Shade(gamma=1.2, gain=(0.82, 0.95, 1.08), blur_px=0.6, noise=3.0),
    Shade(gamma=0.8, gain=(1.1, 1.0, 0.9), blur_px=0.9, noise=4.0),
    Shade(gamma=1.35, gain=(0.8, 0.8, 0.8), blur_px=0.3, noise=5.0),
)


def keyframes() -> list[DrivePose]:
    """Where the pictures of each building are taken."""
    poses: list[DrivePose] = []
    for pose in drive()[:: ODOM_HZ // IMAGE_HZ]:
        pose = dataclasses.replace(pose, y_m=-pose.y_m, yaw_rad=-pose.yaw_rad)
        if not poses or _moved(poses[-1], pose):
            poses.append(pose)
    return poses


def render(folder: Path, name: str, poses: list[DrivePose]) -> None:
    """Write the pictures of a drive through a building to `folder`, unless it exists."""
    if folder.exists():
        return
    seed = 100 + list(BUILDINGS).index(name)
    random = np.random.default_rng(seed)
    plan = _rebuilt(random, BUILDINGS[name])
    shade = SHADES[seed % len(SHADES)]
    folder.mkdir(parents=True)
    with Camera(plan, (poses[0].x_m, poses[0].y_m), seed) as camera:
        for number, pose in enumerate(poses):
            picture = camera.picture(pose.x_m, pose.y_m, pose.yaw_rad)
            picture = picture if pose.lap == 1 else shade.apply(picture, random)
            cv2.imwrite(str(folder / f"{number:04}.png"), picture)


def building_drive(
    folder: Path, name: str, poses: list[DrivePose], drift_deg: float | None
) -> ClosureSet:
    """A rendered drive, its odometry drifting by degrees per metre; None: without odometry."""
    xy = np.array([(p.x_m, p.y_m) for p in poses])
    yaw = np.array([p.yaw_rad for p in poses])
    near = np.linalg.norm(xy[:, None] - xy, axis=2) <= RADIUS_M
    turn = np.cos(yaw[:, None] - yaw) >= math.cos(math.radians(RADIUS_DEG))
    odometry = [None] * len(poses) if drift_deg is None else _drifting(xy, yaw, drift_deg)
    views = tuple(
        View(folder / f"{number:04}.png", pose.stamp_s, where)
        for number, (pose, where) in enumerate(zip(poses, odometry, strict=True))
    )
    words = "no odometry" if drift_deg is None else f"drift {drift_deg:g}"
    return ClosureSet(f"{name}, {words}", (), views, near & turn, True, np.ones(len(views), bool))


def _drifting(xy: np.ndarray, yaw: np.ndarray, drift_deg: float) -> list[Pose]:
    position, heading, found = xy[0], float(yaw[0]), [Pose.planar(*map(float, xy[0]), yaw[0])]
    for before, after in zip(range(len(xy)), range(1, len(xy)), strict=False):
        step = xy[after] - xy[before]
        along = math.atan2(step[1], step[0]) - yaw[before]  # in the robot's frame
        metres = float(np.linalg.norm(step)) * (1 + SCALE_PER_DEG * drift_deg)
        position = position + metres * np.array(
            [math.cos(heading + along), math.sin(heading + along)]
        )
        turned = math.remainder(yaw[after] - yaw[before], math.tau)
        heading += turned + math.radians(drift_deg) * metres
        found.append(Pose.planar(float(position[0]), float(position[1]), heading))
    return found


def _moved(last: DrivePose, pose: DrivePose) -> bool:
    turned = math.remainder(pose.yaw_rad - last.yaw_rad, math.tau)
    far = math.hypot(pose.x_m - last.x_m, pose.y_m - last.y_m) >= STEP_M
    return far or abs(turned) >= math.radians(STEP_DEG)


def _rebuilt(random: np.random.Generator, identical: bool) -> Plan:
    """The demo's building mirrored, with textures and things drawn anew."""
    plan = building()
    walls, flats = _textures()
    rooms = [area for area in plan.areas if not area.name.startswith("corridor")]
    used = sorted({t for area in rooms for t in (area.wall, area.accent)} - {""})
    new = dict(zip(used, random.choice(walls, len(used), replace=False).tolist(), strict=True))
    ground = sorted({t for area in rooms for t in (area.floor, area.ceiling)} - {"F_SKY1"})
    new |= dict(
        zip(ground, random.choice(flats, len(ground), replace=False).tolist(), strict=True)
    )
    wall, *others = random.choice(walls, 5, replace=False).tolist()
    second = others[:2] if identical else others[2:]
    corridors = (
        *corridor("corridor A", wall, others[0], others[1]),
        *opposite(corridor("corridor A", wall, second[0], second[1])),
    )
    doors = [area for area in rooms if area.name == "door"]
    areas = [
        *(_redecorated(a, new, random) for a in rooms if a.name != "door"),
        *corridors,
        *(_redecorated(a, new, random) for a in doors),
    ]
    kinds = random.permutation([thing.kind for thing in plan.things]).tolist()
    things = (Thing(k, t.x, -t.y) for k, t in zip(kinds, plan.things, strict=True))
    mirrored = (dataclasses.replace(a, y0=-a.y1, y1=-a.y0) for a in areas)
    return Plan(tuple(mirrored), tuple(things))


def _redecorated(area: Area, new: dict[str, str], random: np.random.Generator) -> Area:
    return dataclasses.replace(
        area,
        wall=new[area.wall],
        accent=new.get(area.accent, ""),
        floor=new.get(area.floor, area.floor),
        ceiling=new.get(area.ceiling, area.ceiling),
        light=int(np.clip(area.light + random.integers(-25, 25), 150, 255)),
    )


def _textures() -> tuple[list[str], list[str]]:
    """Walls and floors of the Freedoom resource file that have a structure to see."""
    data = (Path(vizdoom.__file__).parent / "freedoom2.wad").read_bytes()
    count, offset = struct.unpack("<ii", data[4:12])
    walls, flats, within = [], [], False
    for start, size, name in struct.iter_unpack("<ii8s", data[offset : offset + 16 * count]):
        label = name.rstrip(b"\0").decode("latin1")
        if label in ("TEXTURE1", "TEXTURE2"):
            walls += list(_walls(data[start : start + size]))
        within = label == "F_START" or (within and label != "F_END")
        if within and size == 64 * 64:
            flats.append(label)
    return sorted(set(walls)), sorted(set(flats))


def _walls(lump: bytes) -> Iterator[str]:
    (count,) = struct.unpack("<i", lump[:4])
    for (at,) in struct.iter_unpack("<i", lump[4 : 4 + 4 * count]):
        name, _, width, height = struct.unpack("<8sihh", lump[at : at + 16])
        label = name.rstrip(b"\0").decode("latin1")
        plain = label.startswith(("SKY", "SW1", "SW2", "AASH", "RSKY", "DOOM"))
        if 64 <= width <= 256 and height >= 64 and not plain:
            yield label
