# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered places: the plan by hand, the pictures by the real engine."""

import csv
import types

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.datasets.image_set import DatasetError
from vpr_ros.training.sources import load_places
from vpr_ros.training.vizdoom_camera import RenderError, VizdoomCamera
from vpr_ros.training.vizdoom_plan import UNITS_PER_M, VizdoomPlan
from vpr_ros.training.vizdoom_render import main, render
from vpr_ros.training.vizdoom_views import VizdoomConfig

COLUMNS = ["image", "map", "place", "x_m", "y_m", "yaw_deg"]
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
    return VizdoomPlan(
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
    assert plan.free_way(start, ends) == pytest.approx([1.0, 0.75, 0.5])


def test_places_of_one_map_overlap_when_near_and_alike_in_heading(write_set, tmp_path):
    poses = [(0, 0, 350), (4, 0, 20), (4, 0, 90), (6, 0, 350)]
    for level in ("freedoom1/E1M1", "freedoom2/MAP02"):
        rows = [
            (f"{place}_{view}.jpg", level, place, *pose)
            for place, pose in enumerate(poses)
            for view in range(2)
        ]
        write_set(f"{level.replace('/', '_')}/places.csv", COLUMNS, rows)
    places = load_places("vizdoom", tmp_path)
    assert [len(views) for views in places.views] == [2] * 8
    assert [places.overlapping(i).tolist() for i in range(4)] == [[1], [0, 3], [], [1]]
    assert places.group_members(1).tolist() == [0, 1, 2, 3]


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(DatasetError, match="vizdoom_render"):
        load_places("vizdoom", tmp_path)


def test_an_unknown_map_is_an_error():
    pytest.importorskip("vizdoom", reason="the renderer is not installed")
    with pytest.raises(RenderError, match=r"no map 'freedoom3/MAP01'"):
        VizdoomCamera("freedoom3/MAP01", seed=1)


def test_rendered_places_are_near_textured_and_repeatable(tmp_path):
    pytest.importorskip("vizdoom", reason="the renderer is not installed")
    config = VizdoomConfig(places=3)
    assert list(render(tmp_path / "a", [LEVEL], config)) == [(LEVEL, 3)]
    list(render(tmp_path / "b", ["freedoom1/E1M1", LEVEL], config))
    folder = tmp_path / "a" / "freedoom2_MAP05"
    with (folder / "places.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * config.views
    for row in rows:
        image = cv2.imread(str(folder / row["image"]))
        assert image.shape == (300, 400, 3)
        assert image.std() > 5.0
        other = tmp_path / "b" / "freedoom2_MAP05" / row["image"]
        assert other.read_bytes() == (folder / row["image"]).read_bytes()
    assert len(load_places("vizdoom", tmp_path / "b")) == 6
    with pytest.raises(ConfigError, match="other options"):
        list(render(tmp_path / "a", [LEVEL], VizdoomConfig(places=4)))


def test_the_command_says_what_is_wrong_in_a_line(tmp_path, capsys):
    pytest.importorskip("vizdoom", reason="the renderer is not installed")
    assert main([str(tmp_path / "a"), "--maps", "MAP01"]) == 1
    assert main([str(tmp_path), "--maps", LEVEL, "--views", "1"]) == 1
    assert main([str(tmp_path), "--maps", LEVEL, "--wall-m", "500"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "no map 'MAP01'" in said[0]
    assert "'views' is 1" in said[1]
    assert "500 m of room" in said[2]


def test_a_stopped_run_goes_on_with_the_next_map(tmp_path):
    pytest.importorskip("vizdoom", reason="the renderer is not installed")
    config = VizdoomConfig(places=1, views=2)
    stopped = render(tmp_path, [LEVEL, "freedoom1/E1M1"], config)
    next(stopped)
    stopped.close()
    mark = tmp_path / "freedoom2_MAP05" / "0000_0.jpg"
    when = mark.stat().st_mtime_ns
    assert len(list(render(tmp_path, [LEVEL, "freedoom1/E1M1"], config))) == 2
    assert mark.stat().st_mtime_ns == when


def test_the_camera_stands_where_it_is_told():
    pytest.importorskip("vizdoom", reason="the renderer is not installed")
    with VizdoomCamera(LEVEL, seed=1) as camera:
        low, high = camera.plan.bounds
        assert camera.picture(int(low[0]) - 500, int(low[1]) - 500, 0.0, 8.0) is None  # outside
        points = np.random.default_rng(1).uniform(low, high, (600, 2)).round()
        good = ~np.isnan(camera.plan.floor_at(points)) & (camera.plan.clearance(points) > 64)
        x, y = points[good][0]
        seen = [camera.picture(int(x), int(y), yaw, 8.0) for yaw in (10.0, 10.0, 190.0)]
        first, again, back = (shot.image.astype(int) for shot in seen)
        assert np.abs(first - again).mean() < 3.0  # lamps may flicker
        assert np.abs(first - back).mean() > 10.0


def test_depths_are_those_of_the_plan():
    pytest.importorskip("vizdoom", reason="the renderer is not installed")
    ratios = []
    with VizdoomCamera(LEVEL, seed=1) as camera:
        low, high = camera.plan.bounds
        points = np.random.default_rng(2).uniform(low, high, (600, 2)).round()
        good = ~np.isnan(camera.plan.floor_at(points)) & (camera.plan.clearance(points) > 64)
        for x, y in points[good][:20]:
            shot = camera.picture(int(x), int(y), 90.0, 8.0)
            if shot is not None:
                wall = camera.plan.free_way(np.array([x, y]), np.array([[x, y + 1000.0]]))[0]
                ratios.append(shot.depth_m[150, 200] / (wall * 1000.0 / UNITS_PER_M))
    assert len(ratios) > 10
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)  # things may stand before a wall
