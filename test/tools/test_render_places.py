# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered training places: the map's plan by hand, the pictures by the real engine."""

import csv
import types

import cv2
import numpy as np
import pytest

from demo.vizdoom_game import UNITS_PER_M, RenderError
from tools import render_places
from tools.map_plan import MapPlan
from tools.render_places import DEPTH_M, MAPS, VIEWS, MapCamera, RenderedPlace, main
from vpr_ros.training.sources import load_places

LEVEL = "freedoom2/MAP05"


def room(x0, y0, x1, y1, floor=0.0, ceiling=128.0, *, blocking=False):
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    lines = [
        types.SimpleNamespace(x1=a[0], y1=a[1], x2=b[0], y2=b[1], is_blocking=blocking)
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return types.SimpleNamespace(lines=lines, floor_height=floor, ceiling_height=ceiling)


@pytest.fixture
def plan():
    """Two rooms in a row, the right one 16 higher, then a closed door and a third room."""
    return MapPlan(
        [
            room(0, 0, 100, 100),
            room(100, 0, 200, 100, floor=16.0),
            room(200, 0, 210, 100, floor=0.0, ceiling=0.0),
            room(210, 0, 300, 100),
        ]
    )


def test_floors_and_walls(plan):
    points = np.array([[50.0, 50], [150, 50], [205, 50], [250, 50], [400, 50], [50, -1]])
    floor = plan.floor_at(points)
    assert floor[[0, 1, 3]].tolist() == [0.0, 16.0, 0.0]
    assert np.isnan(floor[[2, 4, 5]]).all()
    assert plan.clearance(np.array([[95.0, 40], [190, 50]])).tolist() == [40.0, 10.0]


def test_the_way_is_free_through_an_opening_only(plan):
    start = np.array([50.0, 50.0])
    ends = np.array([[150.0, 50], [250, 50], [50, 150]])
    assert plan.free_share(start, ends) == pytest.approx([1.0, 0.75, 0.5])


def test_rendered_places_are_near_textured_and_repeatable(tmp_path):
    assert main([str(tmp_path / "a"), "--maps", LEVEL, "--places", "3"]) == 0
    assert main([str(tmp_path / "b"), "--maps", "freedoom1/E1M1", LEVEL, "--places", "3"]) == 0
    folder = tmp_path / "a" / "freedoom2_MAP05"
    with (folder / "places.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * VIEWS
    for row in rows:
        image = cv2.imread(str(folder / row["image"]))
        assert image.shape == (300, 400, 3)
        assert image.std() > 5.0
        other = tmp_path / "b" / "freedoom2_MAP05" / row["image"]
        assert other.read_bytes() == (folder / row["image"]).read_bytes()
    assert len(load_places("places", tmp_path / "b")) == 6


def test_an_unknown_map_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path), "--maps", "MAP01"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no map 'MAP01'" in line


def test_a_map_without_room_is_an_error(monkeypatch, plan):
    monkeypatch.setattr(render_places, "WALL_M", 500.0)
    with pytest.raises(RenderError, match="500 m away"):
        render_places._standing_point(plan, np.random.default_rng(1))


def test_maps_that_are_there_are_kept_and_drafts_are_not(tmp_path, monkeypatch):
    drawn = []

    def places_of(level, count, seed):
        drawn.append(level)
        if level == MAPS[1]:
            raise RenderError("stopped")
        yield RenderedPlace(0.0, 0.0, 0.0, [np.zeros((4, 4, 3), np.uint8)])

    monkeypatch.setattr(render_places, "places_of", places_of)
    assert main([str(tmp_path), "--maps", *MAPS[:2]]) == 1
    assert main([str(tmp_path), "--maps", *MAPS[:2]]) == 1
    assert drawn == [MAPS[0], MAPS[1], MAPS[1]]
    assert not (tmp_path / MAPS[1].replace("/", "_")).exists()


def test_the_camera_stands_where_it_is_told():
    with MapCamera(LEVEL, seed=1) as camera:
        low, high = camera.plan.bounds
        assert camera.picture(int(low[0]) - 500, int(low[1]) - 500, 0.0, 8.0) is None  # outside
        points = np.random.default_rng(1).uniform(low, high, (600, 2)).round()
        good = ~np.isnan(camera.plan.floor_at(points)) & (camera.plan.clearance(points) > 64)
        x, y = points[good][0]
        seen = [camera.picture(int(x), int(y), yaw, 8.0) for yaw in (10.0, 10.0, 190.0)]
        first, again, back = (view.image.astype(int) for view in seen)
        assert np.abs(first - again).mean() < 3.0  # lamps may flicker
        assert np.abs(first - back).mean() > 10.0


def test_depths_are_those_of_the_plan():
    ratios = []
    with MapCamera(LEVEL, seed=1) as camera:
        low, high = camera.plan.bounds
        points = np.random.default_rng(2).uniform(low, high, (600, 2)).round()
        good = ~np.isnan(camera.plan.floor_at(points)) & (camera.plan.clearance(points) > 64)
        for x, y in points[good][:20]:
            view = camera.picture(int(x), int(y), 90.0, 8.0)
            if view is not None:
                wall = camera.plan.free_share(np.array([x, y]), np.array([[x, y + 1000.0]]))[0]
                ratios.append(view.depth[150, 200] * DEPTH_M / (wall * 1000.0 / UNITS_PER_M))
    assert len(ratios) > 10
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)  # things may stand before a wall
