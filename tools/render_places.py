# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Renders training places from ViZDoom's free maps: `python -m tools.render_places FOLDER`.

A place is a handful of views within a metre and 20 degrees. Every map gets a folder of its own,
written completely or not at all, and one that exists is kept: a run that was stopped continues
where it was. The pictures depend on the options alone. The demo drives through a map of its own,
which is none of these.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from demo.vizdoom_game import UNITS_PER_M, RenderError, View, VizdoomGame
from tools.map_plan import MapPlan, Points
from vpr_ros.core.errors import VprError
from vpr_ros.core.images import Image
from vpr_ros.training.places_table import FILE, POSE

COLUMNS = ("image", "place", "site", "group", *POSE)

# Without freedoom2/MAP30, whose final boss sends monsters even where there are none.
MAPS = (
    *(f"freedoom1/E{episode}M{level}" for episode in range(1, 5) for level in range(1, 10)),
    *(f"freedoom2/MAP{level:02d}" for level in range(1, 33) if level != 30),
)
PLACES = 60  # of each map
VIEWS = 4  # of each place
SPREAD_M, TURN_DEG = 1.0, 20.0  # greatest distance and turn between two views
STEP_M = 0.75  # greatest difference in height between two views' floors
AHEAD_M = 2.0  # free distance ahead of each view
WALL_M = 0.6  # least distance from walls
FAR_M = 30.0  # what is farther away, such as the sky, looks the same from many places
LEAST_NEAR = 0.6  # share of a view that is nearer than FAR_M
LEAST_CORNERS = 120  # FAST corners there
LEAST_GREY = 18.0  # mean brightness of a view
JPEG_QUALITY = 90
POSE_TRIES = 30  # poses examined for each place that is wanted
POINT_TRIES = 6400  # points examined before a map is given up
POSITION_TOLERANCE = 4.0  # map units; the console takes whole ones
TURN_TOLERANCE_DEG = 0.5
DEPTH_M = np.float32(0.23)  # per grey level of the depth buffer, measured on known walls


class MapCamera(VizdoomGame):
    """Pictures (300, 400, 3) of one map; use it in a `with` block."""

    def __init__(self, level: str, seed: int) -> None:
        if level not in MAPS:
            raise RenderError(f"There is no map '{level}'; give one of {MAPS[0]} to {MAPS[-1]}.")
        resources, name = level.split("/")
        super().__init__(resources, name, seed, "400X300", measured=True)
        self.command("god")  # some floors hurt
        self.plan = MapPlan(self.sectors())

    def __enter__(self) -> MapCamera:
        return self

    def picture(self, x: int, y: int, yaw_deg: float, visibility: float) -> View | None:
        """The view from a point in map units.

        None where the game does not let the camera stand, as inside a pillar, or puts it on a
        ledge beside the point. The greater `visibility`, the farther light reaches; the game's
        own is 8.
        """
        self.command(f"r_visibility {visibility:.2f}")
        view = self.view(x, y, yaw_deg)
        if view is None:
            return None
        floor = self.plan.floor_at(np.array([[x, y]], float))[0]
        off = math.hypot(view.x - x, view.y - y, view.z - floor)
        off_deg = abs(math.remainder(view.yaw_deg - yaw_deg, 360.0))
        # NaN, a point in no room, compares as false.
        return view if off <= POSITION_TOLERANCE and off_deg <= TURN_TOLERANCE_DEG else None


@dataclasses.dataclass(frozen=True)
class RenderedPlace:
    """Views around one pose."""

    x_m: float
    y_m: float
    yaw_deg: float
    views: list[Image]


def places_of(level: str, count: int, seed: int) -> Iterator[RenderedPlace]:
    """Up to `count` places of a map whose views show something to recognise."""
    key = zlib.crc32(level.encode())
    random = np.random.default_rng([seed, key])
    found = 0
    with MapCamera(level, seed=key % 10**6) as camera:
        for _ in range(POSE_TRIES * count):
            place = _try_place(camera, random)
            if place is not None:
                found += 1
                yield place
            if found == count:
                return


def _try_place(camera: MapCamera, random: np.random.Generator) -> RenderedPlace | None:
    """A place around a random pose, or None if one of its views is blocked, blank or dark."""
    middle = _standing_point(camera.plan, random)
    yaw_deg = random.uniform(0.0, 360.0)
    views: list[Image] = []
    for _ in range(4 * VIEWS):
        radius = SPREAD_M / 2 * UNITS_PER_M * np.sqrt(random.random())
        angle = random.uniform(0.0, 2 * np.pi)
        point = np.rint(middle + radius * np.array([np.cos(angle), np.sin(angle)]))
        turned_deg = yaw_deg + random.uniform(-TURN_DEG, TURN_DEG) / 2
        visibility = float(np.exp(random.uniform(np.log(3.0), np.log(30.0))))
        if not _is_of_place(camera.plan, middle, point, turned_deg):
            continue
        view = camera.picture(int(point[0]), int(point[1]), turned_deg % 360.0, visibility)
        if view is None or not _shows_enough(view):
            return None  # neighbouring views would be no better
        views.append(view.image)
        if len(views) == VIEWS:
            return RenderedPlace(middle[0] / UNITS_PER_M, middle[1] / UNITS_PER_M, yaw_deg, views)
    return None


def _standing_point(plan: MapPlan, random: np.random.Generator) -> Points:
    """A random point (2,) on some floor, away from the walls."""
    low, high = plan.bounds
    for _ in range(POINT_TRIES // 64):
        points = random.uniform(low, high, (64, 2))
        good = ~np.isnan(plan.floor_at(points))
        good &= plan.clearance(points) >= WALL_M * UNITS_PER_M
        if good.any():
            found: Points = points[good.argmax()]
            return found
    raise RenderError(f"The map has no point at least {WALL_M:g} m away from all walls.")


def _is_of_place(plan: MapPlan, middle: Points, point: Points, yaw_deg: float) -> bool:
    """Whether a view belongs to the place: the same floor, no wall between, free ahead."""
    floor, here = plan.floor_at(np.stack([middle, point]))
    if not abs(floor - here) <= STEP_M * UNITS_PER_M:  # also refuses NaN
        return False
    if plan.clearance(point[None])[0] < WALL_M * UNITS_PER_M:
        return False
    if (middle != point).any() and plan.free_share(middle, point[None])[0] < 1.0:
        return False
    yaw = np.radians(yaw_deg + np.array([-15.0, 0.0, 15.0]))
    ahead = point + AHEAD_M * UNITS_PER_M * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    return bool(plan.free_share(point, ahead).min() >= 1.0)


def _shows_enough(view: View) -> bool:
    """Whether there is something near to recognise."""
    assert view.depth is not None
    grey = cv2.cvtColor(view.image, cv2.COLOR_BGR2GRAY)
    near = (view.depth * DEPTH_M < FAR_M).astype(np.uint8)
    corners = cv2.FastFeatureDetector_create(20).detect(grey, near)
    return bool(
        grey.mean() >= LEAST_GREY and near.mean() >= LEAST_NEAR and len(corners) >= LEAST_CORNERS
    )


def render_map(target: Path, level: str, count: int, seed: int) -> None:
    """Write one map's pictures and their table beside `target`, then give them its name."""
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    with (draft / FILE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, place in enumerate(places_of(level, count, seed)):
            pose = (f"{place.x_m:.3f}", f"{place.y_m:.3f}", f"{place.yaw_deg:.2f}")
            for index, image in enumerate(place.views):
                name = f"{number:04d}_{index}.jpg"
                cv2.imwrite(str(draft / name), image, quality)
                writer.writerow((name, number, level, level, *pose))
    draft.rename(target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the maps named on the command line; 0 if all are there."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.render_places",
        description="Render training places from ViZDoom's free maps.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--maps", nargs="+", default=MAPS, help="such as freedoom2/MAP01")
    parser.add_argument("--places", type=int, default=PLACES, help="of each map")
    parser.add_argument("--seed", type=int, default=1, help="of the poses and the light")
    options = parser.parse_args(arguments)
    try:
        for level in options.maps:
            target = options.folder / level.replace("/", "_")
            if not target.is_dir():
                render_map(target, level, options.places, options.seed)
            with (target / FILE).open(newline="") as file:
                count = len({row["place"] for row in csv.DictReader(file)})
            print(f"{level}: {count} places", flush=True)
    except (VprError, OSError) as error:
        print(f"render_places: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
