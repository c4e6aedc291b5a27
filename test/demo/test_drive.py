# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's building, drive, battery and pictures."""

import itertools
import math
import re
import sys

import numpy as np
import pytest

from demo import camera, topics
from demo.building import building
from demo.camera import Camera, textmap, wad
from demo.drive import (
    ODOM_HZ,
    SPEED,
    STOP_S,
    TURN_RATE,
    WAKE_UP_S,
    alignment,
    ate_m,
    drifting,
    drive,
    wake_up,
)
from demo.floor_plan import CELL_M, SOLID, Area, Plan
from demo.robot_messages import BOOT_MESSAGES, LEFT, battery
from demo.vizdoom_game import RenderError
from demo.write_bag import EVENING, NOON
from vpr_ros.core.pose import Pose


@pytest.fixture(scope="module")
def plan():
    return building()


@pytest.fixture(scope="module")
def poses():
    return drive()


def of_lap(poses, lap):
    return [p for p in poses if p.lap == lap]


def rooms(plan, poses):
    """The names of the areas that the poses lie in."""
    return {plan.area_at(p.x_m, p.y_m).name for p in poses}


def gap_m(a, b):
    return math.hypot(a.x_m - b.x_m, a.y_m - b.y_m)


def clearance_m(plan, x, y, limit_m):
    """Distance from a point to the nearest wall, step or decoration, at most `limit_m`."""
    ci, cj = plan.cell(x, y)
    reach = math.ceil(limit_m / CELL_M) + 1
    gaps = [limit_m, *(math.hypot(t.x - x, t.y - y) for t in plan.things)]
    for i, j in itertools.product(
        range(ci - reach, ci + reach + 1), range(cj - reach, cj + reach + 1)
    ):
        index = plan.cells[i, j]
        if index == SOLID or plan.areas[index].floor_m:
            left, low = plan.origin[0] + i * CELL_M, plan.origin[1] + j * CELL_M
            dx = max(left - x, 0.0, x - left - CELL_M)
            dy = max(low - y, 0.0, y - low - CELL_M)
            gaps.append(math.hypot(dx, dy))
    return min(gaps)


def turn_rad(a, b):
    return abs(math.remainder(a.yaw_rad - b.yaw_rad, math.tau))


def test_second_lap_passes_the_places_of_the_first(plan, poses):
    first = of_lap(poses, 1)
    assert rooms(plan, of_lap(poses, 2)) == rooms(plan, first)
    for pose in of_lap(poses, 2):
        near = min(first, key=lambda p: gap_m(p, pose) + turn_rad(p, pose))
        # where the branch leaves the ring in the last room, the views part
        limit = math.radians(90) if "red room" in rooms(plan, [pose]) else math.radians(20)
        assert gap_m(near, pose) < 1.0 and turn_rad(near, pose) < limit


def test_second_lap_is_seen_otherwise(plan, poses):
    first = of_lap(poses, 1)
    second = [
        p for p in of_lap(poses, 2) if "red room" not in rooms(plan, [p])
    ]  # there the ways part
    offsets = [min(gap_m(p, q) for q in first) for p in second]
    assert 0.2 < np.mean(offsets) < 0.6 and max(offsets) < 0.65
    assert SPEED[2] == pytest.approx(1.3 * SPEED[1])


def test_new_territory_is_new(plan, poses):
    known = [p for p in poses if p.lap != 3]
    new = of_lap(poses, 3)[2 * ODOM_HZ :]  # beyond the door
    assert len(new) > 5 * ODOM_HZ
    assert all(min(gap_m(p, q) for q in known) > 2.0 for p in new[2 * ODOM_HZ :])
    assert {"boiler room", "cave"} <= rooms(plan, new)


def test_the_next_day_is_beside_the_first_lap_and_off_walls(plan, poses):
    first = of_lap(poses, 1)
    for seed in range(5):
        drives = [wake_up(poses, seed), wake_up(poses, seed)]
        assert drives[0] == drives[1] and len(drives[0]) == WAKE_UP_S * ODOM_HZ
        assert drives[0][0].stamp_s == 0.0
        for pose in drives[0]:
            assert min(gap_m(pose, p) for p in first) < 0.4
            assert clearance_m(plan, pose.x_m, pose.y_m, 0.3) > 0.05
    assert gap_m(wake_up(poses, 1)[0], wake_up(poses, 2)[0]) > 1


def test_poses_are_continuous_and_evenly_timed(poses):
    tick = 1.0 / ODOM_HZ
    assert np.allclose(np.diff([p.stamp_s for p in poses]), tick)
    for a, b in itertools.pairwise(poses):
        assert gap_m(a, b) < max(SPEED.values()) * tick * 1.2
        assert turn_rad(a, b) < 1.8 * TURN_RATE * tick  # the wobble comes on top
    assert 80 < poses[-1].stamp_s < 95


def straight(count):
    """Poses a metre apart."""
    return [Pose.planar(float(i), 0.0, 0.0) for i in range(count)]


def test_the_heading_drifts_by_what_is_asked_for():
    moved = drifting(straight(101), seed=3, bias_deg=0.5)
    turned = abs(math.degrees(moved[-1].yaw))
    assert turned == pytest.approx(50, abs=12)  # and at random, 0.3 degrees per root metre
    assert moved[0] == straight(1)[0]
    still = drifting([straight(1)[0]] * 100, seed=3)
    assert still[-1].distance_m(still[0]) == 0 and still[-1].angle_deg(still[0]) < 1e-6


def test_the_error_is_that_after_the_best_alignment():
    truth = [Pose.planar(float(i), float(i * i), 0.0) for i in range(5)]
    elsewhere = Pose.planar(7.0, -2.0, 1.0)
    moved = [elsewhere.compose(p) for p in truth]
    assert ate_m(moved, truth) == pytest.approx(0, abs=1e-9)
    assert alignment(moved, truth).compose(moved[3]).distance_m(truth[3]) < 1e-9
    off = [Pose.planar(p.x + (0.1, -0.1)[i % 2], p.y, 0.0) for i, p in enumerate(truth)]
    assert 0.05 < ate_m(off, truth) < 0.11


def test_robot_stands_still_once(poses):
    still = [p.stamp_s for a, p in itertools.pairwise(poses) if gap_m(a, p) < 1e-3]
    still = [t for t in still if 1 < t < poses[-1].stamp_s - 1]
    assert still[-1] - still[0] == pytest.approx(STOP_S, abs=0.4)


@pytest.mark.parametrize("twins", [False, True])
def test_robot_keeps_off_walls_and_decorations(poses, twins):
    plan = building(twins)
    assert all(plan.area_at(p.x_m, p.y_m) for p in poses)
    assert min(clearance_m(plan, p.x_m, p.y_m, 1.0) for p in poses[::4]) > 0.45


def test_twins_cannot_be_told_apart_from_inside(poses):
    """From the door of the corridor to the curtain behind the garden, and only there."""
    east = [p for p in of_lap(poses, 1) if p.y_m < 3]
    first = [min(east, key=lambda p: abs(p.x_m - x)) for x in (2.5, 6, 10, 14, 18, 22, 27, 29)]
    plan, views = building(twins=True), []
    for turned in (False, True):  # each side in a game of its own: pools and torches move
        here = [(32 - p.x_m, 16 - p.y_m, p.yaw_rad + math.pi) if turned
                else (p.x_m, p.y_m, p.yaw_rad) for p in first]  # fmt: skip
        with Camera(plan, (2.5, 0.0)) as eye:
            views.append([eye.picture(*pose) for pose in here])
    for pose, one, other in zip(first, *views, strict=True):
        gap = np.abs(one.astype(int) - other).mean()
        assert gap > 2 if pose.x_m < 3 or pose.x_m > 28 else gap < 0.01, pose


def test_corridors_have_one_shape(plan):
    """Corridor B is corridor A turned by half a turn; only textures differ."""
    shapes = []
    for name, turn in (("corridor A", False), ("corridor B", True)):
        parts = [a for a in plan.areas if a.name == name]
        x, y = min(a.x0 for a in parts), min(a.y0 for a in parts)
        corner = (max(a.x1 for a in parts), max(a.y1 for a in parts)) if turn else (x, y)
        shapes.append(
            sorted(
                (
                    *sorted((abs(a.x0 - corner[0]), abs(a.x1 - corner[0]))),
                    *sorted((abs(a.y0 - corner[1]), abs(a.y1 - corner[1]))),
                    a.height_m,
                    a.light,
                    a.ceiling,
                )
                for a in parts
            )
        )
    assert shapes[0] == shapes[1]


def test_walls_of_a_tiny_plan():
    plan = Plan(
        (
            Area("hall", 0, 0, 4, 2, "STONE"),
            Area("pit", 1, 0.5, 2, 1.5, "BRICK1", floor_m=-0.5),
            Area("", 3, 0.5, 3.5, 1.5, "WOOD1", height_m=0.0),
        ),
        (),
    )
    walls = plan.walls()
    assert len(walls) == 12
    closed = [w for w in walls if w.back == SOLID]
    assert sorted(w.texture for w in closed) == ["STONE"] * 4 + ["WOOD1"] * 4
    assert all({w.front, w.back} == {0, 1} for w in walls if w.back != SOLID)
    for w in walls:  # the front area lies on the right hand
        dx, dy = np.sign(w.x1 - w.x0), np.sign(w.y1 - w.y0)
        i, j = min(w.x0, w.x1) - (dy < 0), min(w.y0, w.y1) - (dx > 0)
        assert plan.cells[i, j] == w.front


def test_level_text_is_consistent(plan):
    text = textmap(plan, (2.5, 0.0))
    count = {
        kind: len(re.findall(rf"^{kind}\{{", text, re.M))
        for kind in ("vertex", "linedef", "sidedef", "sector", "thing")
    }
    assert text.startswith('namespace="zdoom";') and text.count("{") == text.count("}")
    assert count["sector"] == len(plan.areas) and count["thing"] == len(plan.things) + 1
    ends = [int(v) for v in re.findall(r"v[12]=(\d+)", text)]
    sides = [int(v) for v in re.findall(r"side(?:front|back)=(\d+)", text)]
    assert set(ends) == set(range(count["vertex"]))
    assert sorted(sides) == list(range(count["sidedef"]))
    assert max(int(v) for v in re.findall(r"sector=(\d+)", text)) < count["sector"]
    assert all(len(name) <= 8 for name in re.findall(r'texture\w+="([^"]*)"', text))


def test_wad_directory():
    data = wad("x")
    assert data[:4] == b"PWAD"
    names = [data[k + 8 : k + 16].rstrip(b"\0") for k in range(len(data) - 64, len(data), 16)]
    assert names == [b"ZMAPINFO", b"MAP01", b"TEXTMAP", b"ENDMAP"]


def test_battery_drains_after_the_boot_zeros(poses):
    times, speeds = (np.array([getattr(p, k) for p in poses]) for k in ("stamp_s", "speed"))
    reports = battery(times, speeds, seed=1)
    assert all(r.percentage == 0.0 and r.voltage == 0.0 for r in reports[:BOOT_MESSAGES])
    level = np.array([r.percentage for r in reports[BOOT_MESSAGES:]])
    assert (np.diff(level) < 0).all() and level[0] > 0.98
    assert level[-1] == pytest.approx(LEFT, abs=0.02)
    assert all(12.0 < r.voltage < 17.0 for r in reports[BOOT_MESSAGES:])
    assert str(reports) == str(battery(times, speeds, seed=1))


def test_shades():
    image = np.full((8, 8, 3), 128, np.uint8)
    assert (NOON.apply(image, np.random.default_rng(1)) == image).all()
    evening = EVENING.apply(image, np.random.default_rng(1)).reshape(-1, 3).mean(axis=0)
    assert evening[0] < evening[1] < evening[2] and evening[1] < 128


def test_missing_renderer_says_the_way_out(monkeypatch, plan):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(RenderError, match="pip install vizdoom"):
        Camera(plan, (2.5, 0.0))


def test_pictures_are_the_same_each_time(plan, poses):
    def take():
        with Camera(plan, (poses[0].x_m, poses[0].y_m), seed=1) as eye:
            return [eye.picture(p.x_m, p.y_m, p.yaw_rad) for p in poses[::300]]

    first, second = take(), take()
    assert first[0].shape == (camera.HEIGHT, camera.WIDTH, 3) and first[0].dtype == np.uint8
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert min(image.std() for image in first) > 15  # nothing black or blank
    for a, b in itertools.pairwise(first):
        assert np.abs(a.astype(int) - b).mean() > 5


def test_camera_has_square_pixels_and_a_right_angle_of_view():
    """A white pillar 9 m ahead, 2 m to 3 m left, from floor to ceiling at 4 m."""
    hall = Area("hall", -10, -10, 10, 10, "REDWALL", "FLAT22", "CEIL4_2", 255)
    pillar = Area("", 9, 2, 10, 3, "PWHITE", height_m=0.0)
    with Camera(Plan((hall, pillar), ()), (0.0, 0.0)) as eye:
        image = eye.picture(0.0, 0.0, 0.0)
    rows, _ = np.where((image[:, 180:240] > 240).all(axis=2))
    columns = np.where((image[240] > 240).all(axis=1))[0]
    f = camera.FOCAL_PX
    assert columns.min() == pytest.approx(320 - f * 3 / 9, abs=2)
    assert columns.max() == pytest.approx(320 - f * 2 / 10, abs=2)
    assert np.ptp(rows) == pytest.approx(f * 4.0 / 9, abs=3)


def test_impossible_pose_is_an_error(plan, monkeypatch):
    with Camera(plan, (2.5, 0.0)) as eye:
        with pytest.raises(RenderError, match="inside a wall"):
            eye.picture(-4.6, 0.0, 0.0)
        monkeypatch.setattr(camera, "POSE_TOLERANCE_M", -1.0)
        with pytest.raises(RenderError, match="away from"):
            eye.picture(2.5, 0.0, 0.0)


def test_bag(tmp_path, plan, poses):
    """A drive cut to three seconds."""
    from rosbags.highlevel import AnyReader

    from demo import write_bag
    from vpr_ros.core.errors import VprError

    folder = tmp_path / "bag"
    write_bag.write_bag(folder, plan, poses[: 3 * ODOM_HZ], quiet=True)
    with AnyReader([folder]) as reader:
        count = {t: info.msgcount for t, info in reader.topics.items()}
        order = [(c.topic, reader.deserialize(raw, c.msgtype)) for c, _, raw in reader.messages()]
    assert count == {
        topics.IMAGE: 30,
        topics.INFO: 30,
        topics.ODOM: 60,
        topics.WHEELS: 60,
        topics.BATTERY: 6,
    }
    posed = set()
    for topic, message in order:
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        if topic == topics.ODOM:
            posed.add(stamp)
        if topic == topics.IMAGE:
            assert stamp in posed  # its pose was published before
    with pytest.raises(VprError, match="exists already"):
        write_bag.write_bag(folder, plan, poses, quiet=True)
