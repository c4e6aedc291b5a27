# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places of a map that are worth remembering, seen from several poses each."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from vpr_ros.core.config import Config, param
from vpr_ros.core.images import Image
from vpr_ros.training.vizdoom_camera import RenderError, Shot, VizdoomCamera
from vpr_ros.training.vizdoom_plan import UNITS_PER_M, Points, VizdoomPlan

TRIES = 30  # poses looked at per place that is wanted
POINTS = 6400  # tried before a map is given up


@dataclasses.dataclass(frozen=True)
class VizdoomConfig(Config):
    """Which places are rendered, and what a view must show."""

    places: int = param(60, "Places of each map.", minimum=1)
    views: int = param(4, "Views of each place.", minimum=2)
    spread_m: float = param(1.0, "Greatest distance of two views.", unit="m", minimum=0.0)
    turn_deg: float = param(20.0, "Greatest turn of two views.", unit="degrees", minimum=0.0)
    ahead_m: float = param(2.0, "Free way ahead of each view.", unit="m", minimum=0.0)
    wall_m: float = param(0.6, "Least distance from walls.", unit="m", minimum=0.0)
    step_m: float = param(0.75, "Greatest difference of two views' floors.", unit="m", minimum=0)
    far_m: float = param(30.0, "What is farther away, as the sky, shows nothing.", unit="m")
    min_near: float = param(0.6, "Least share of a view nearer than that.", minimum=0.0, maximum=1)
    min_corners: int = param(120, "Least FAST corners of a view that are nearer.", minimum=0)
    min_grey: float = param(18.0, "Least mean brightness of a view.", minimum=0.0, maximum=255.0)
    jpeg_quality: int = param(90, "Of the files.", minimum=1, maximum=100)
    seed: int = param(1, "Of the poses and the light.", minimum=0)


@dataclasses.dataclass(frozen=True)
class Place:
    """Views around one pose."""

    x_m: float
    y_m: float
    yaw_deg: float
    views: list[Image]


def places_of(level: str, config: VizdoomConfig) -> Iterator[Place]:
    """Up to `config.places` places with a view worth remembering."""
    key = zlib.crc32(level.encode())
    random = np.random.default_rng([config.seed, key])
    found = 0
    with VizdoomCamera(level, seed=key % 10**6) as camera:
        for _ in range(TRIES * config.places):
            place = _try(camera, random, config)
            if place is not None:
                found += 1
                yield place
            if found == config.places:
                return


def _try(
    camera: VizdoomCamera, random: np.random.Generator, config: VizdoomConfig
) -> Place | None:
    """A place around a random pose, or None if one of its views is blocked, blank or dark."""
    plan = camera.plan
    middle = _standing_point(plan, random, config)
    yaw_deg = random.uniform(0.0, 360.0)
    views: list[Image] = []
    for _ in range(4 * config.views):
        radius = config.spread_m / 2 * UNITS_PER_M * np.sqrt(random.random())
        angle = random.uniform(0.0, 2 * np.pi)
        point = np.rint(middle + radius * np.array([np.cos(angle), np.sin(angle)]))
        turned_deg = yaw_deg + random.uniform(-config.turn_deg, config.turn_deg) / 2
        visibility = float(np.exp(random.uniform(np.log(3.0), np.log(30.0))))
        if not _may_stand(plan, middle, point, turned_deg, config):
            continue
        shot = camera.picture(int(point[0]), int(point[1]), turned_deg % 360.0, visibility)
        if shot is None or not _worth_it(shot, config):
            return None  # neighbouring views would be no better
        views.append(shot.image)
        if len(views) == config.views:
            return Place(middle[0] / UNITS_PER_M, middle[1] / UNITS_PER_M, yaw_deg, views)
    return None


def _standing_point(
    plan: VizdoomPlan, random: np.random.Generator, config: VizdoomConfig
) -> Points:
    """A random point (2,) on some floor, away from the walls."""
    low, high = plan.bounds
    for _ in range(POINTS // 64):
        points = random.uniform(low, high, (64, 2))
        good = ~np.isnan(plan.floor_at(points))
        good &= plan.clearance(points) >= config.wall_m * UNITS_PER_M
        if good.any():
            found: Points = points[good.argmax()]
            return found
    raise RenderError(
        f"Nowhere in the map is {config.wall_m:g} m of room around the camera; make 'wall_m' less."
    )


def _may_stand(
    plan: VizdoomPlan, middle: Points, point: Points, yaw_deg: float, config: VizdoomConfig
) -> bool:
    """Whether a view belongs to the place: the same floor, no wall between, free ahead."""
    floor, here = plan.floor_at(np.stack([middle, point]))
    if not abs(floor - here) <= config.step_m * UNITS_PER_M:  # also refuses NaN
        return False
    if plan.clearance(point[None])[0] < config.wall_m * UNITS_PER_M:
        return False
    yaw = np.radians(yaw_deg + np.array([-15.0, 0.0, 15.0]))
    ahead = point + config.ahead_m * UNITS_PER_M * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    way_here = plan.free_way(middle, point[None])[0] if (middle != point).any() else 1.0
    return bool(way_here >= 1.0 and plan.free_way(point, ahead).min() >= 1.0)


def _worth_it(shot: Shot, config: VizdoomConfig) -> bool:
    """Whether there is something to recognise; what is far is the same from many places."""
    grey = cv2.cvtColor(shot.image, cv2.COLOR_BGR2GRAY)
    near = (shot.depth_m < config.far_m).astype(np.uint8)
    corners = cv2.FastFeatureDetector_create(20).detect(grey, near)
    return bool(
        grey.mean() >= config.min_grey
        and near.mean() >= config.min_near
        and len(corners) >= config.min_corners
    )
