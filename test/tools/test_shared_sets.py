# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Sets with layouts of their own become pairs.csv and places tables: what is right in them."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools import shared_sets
from vpr_ros.evaluation.image_set import DatasetOptions
from vpr_ros.evaluation.layouts import open_dataset

ROOT = Path(__file__).resolve().parents[2]
TOWER = "image,floor,video,frame,area,split"
HOME = "image,place,time_stage,yaw_aligned_deg,offset_known,n_fast"


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def answers(path):
    """{name of the query: names of its right answers}."""
    image_set = open_dataset(path)
    return {
        query.name: [image_set.database[i].name for i in right]
        for query, right in zip(image_set.queries, image_set.positives, strict=True)
    }


def test_a_lap_or_two_back_is_right_and_what_comes_later_is_not_searched(tmp_path):
    table = tmp_path / "rtabmap_samples" / "revisits.csv"
    write(table, "query,match,inliers", "41,2,80", "46,,0", "82,42,73")
    shared_sets.rtabmap_samples(tmp_path, tmp_path / "out")
    found = answers(tmp_path / "out" / "rtabmap_samples")
    assert found["41.jpg"] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert "46.jpg" not in found
    lap_1, lap_2 = (tuple(f"{i}.jpg" for i in range(a, a + 5)) for a in (0, 40))
    assert found["82.jpg"] == [*lap_1[1:], *lap_2]
    image_set = open_dataset(tmp_path / "out" / "rtabmap_samples")
    assert image_set.searchable.tolist() == [31, 72]
    assert image_set.query_frames.tolist() == [41, 82]
    assert image_set.rule == "at most 2 frames from the verified one, in any earlier lap"


def test_by_distance_and_heading(tmp_path):
    rows = ["a.png,0,0,0", "q.png,3,0,0.1", "turned.png,4,0,3.1", "q2.png,50,0,0"]
    write(tmp_path / "campus_robot" / "data.csv", *rows)
    shared_sets.campus_robot(tmp_path, tmp_path / "out")
    assert answers(tmp_path / "out" / "campus_robot") == {"q.png": ["a.png"], "q2.png": []}


@pytest.fixture
def tower(tmp_path):
    """Eight frames of a video of a test floor, another video of the spot, a training floor."""
    rows = [TOWER]
    for frame in range(1, 8):
        side = "query" if frame == 4 else "gallery"
        rows.append(f"{frame}.jpg,floor8,v,{frame},hall,{side}")
    rows += ["other.jpg,floor8,w,4,hall,gallery", "trained.jpg,floor3,v,4,hall,gallery"]
    write(tmp_path / "ie_tower" / "frames.csv", *rows)
    return tmp_path


def test_floors_of_their_own_by_frame_and_by_spot(tower):
    shared_sets.ie_tower(tower, tower / "out")
    shared_sets.ie_tower(tower, tower / "out", "ie_tower_spots")
    near, beyond = ["2.jpg", "3.jpg", "5.jpg", "6.jpg"], ["1.jpg", "7.jpg", "other.jpg"]
    assert answers(tower / "out" / "ie_tower") == {"4.jpg": near}
    assert set(answers(tower / "out" / "ie_tower_spots")["4.jpg"]) == {*near, *beyond}
    images = [p.name for p in open_dataset(tower / "out" / "ie_tower").database]
    assert "trained.jpg" not in images
    shared_sets.ie_tower_places(tower, tower / "out")
    with (tower / "out" / "places" / "ie_tower.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row.pop("image").endswith("/trained.jpg")
    assert row == {"sequence": "v", "frame": "4", "site": "floor3", "group": "hall"}


def test_rooms_over_time(tmp_path):
    rows = [HOME, *(f"old{yaw}.jpg,hall,0,{yaw},yes,99" for yaw in range(0, 360, 30))]
    rows += ["new.jpg,hall,3,0,yes,99", "blank.jpg,hall,3,30,yes,9", "lost.jpg,hall,3,60,no,99"]
    rows += ["a.jpg,study,0,0,yes,99", "rebuilt.jpg,study,2,0,yes,99"]
    write(tmp_path / "home_streetview" / "frames.csv", *rows)
    shared_sets.home_streetview(tmp_path, tmp_path / "out")
    found = answers(tmp_path / "out" / "home_streetview")
    assert found == {"new.jpg": ["old0.jpg", "old30.jpg", "old330.jpg"]}
    shared_sets.home_places(tmp_path, tmp_path / "out")
    with (tmp_path / "out" / "places" / "home_streetview.csv").open() as file:
        places = [
            (Path(row["image"]).name, row["place"], row["site"]) for row in csv.DictReader(file)
        ]
    assert places == [("old0.jpg", "hall_0", "hall"), ("new.jpg", "hall_0", "hall")]


def test_turned_views_of_a_panorama(tmp_path):
    rows = ["image,place,exposure,yaw_deg,n_fast", "a.jpg,park,e0,0,99", "b.jpg,park,e0,30,99"]
    rows += ["c.jpg,park,e0,60,9", "d.jpg,park,e1,0,99", "e.jpg,square,e0,0,99"]
    write(tmp_path / "polyhaven_hdri" / "frames.csv", *rows)
    shared_sets.polyhaven_places(tmp_path, tmp_path / "out")
    with (tmp_path / "out" / "places" / "polyhaven_hdri.csv").open() as file:
        places = [
            (Path(row["image"]).name, row["place"], row["site"]) for row in csv.DictReader(file)
        ]
    assert places == [(name, "park_0", "park") for name in ("a.jpg", "b.jpg", "d.jpg")]


def test_the_real_sets(tmp_path, shared_data):
    command = [sys.executable, "-m", "tools.shared_sets", tmp_path, "--data", shared_data]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    sizes = {
        "rtabmap_samples": (84, 40),
        "campus_robot": (36, 36),
        "corridor": (111, 111),
        "ie_tower": (543, 114),
        "ie_tower_val": (166, 35),
        "ie_tower_spots": (543, 114),
        "home_streetview": (156, 537),
    }
    for name, size in sizes.items():
        image_set = open_dataset(tmp_path / name, DatasetOptions(frames=2))
        assert (image_set.name, len(image_set.database), len(image_set.queries)) == (name, *size)
        assert image_set.unanswerable == 0
        assert all(p.is_file() for p in (*image_set.database, *image_set.queries))
    answers = [np.mean([len(p) for p in open_dataset(tmp_path / name).positives])
               for name in ("ie_tower", "ie_tower_spots")]  # fmt: skip
    assert answers[0] < 4 < answers[1]


def test_a_folder_without_sets(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["shared_sets", str(tmp_path), "--data", str(tmp_path)])
    assert shared_sets.main() == 1
    assert "corridor: left out" in capsys.readouterr().err
