# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every layout on a few files: what is right, and what the errors say."""

import re
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.datasets.ie_tower import split_of_floors
from vpr_ros.evaluation.datasets.image_set import DatasetError
from vpr_ros.evaluation.datasets.layouts import open_dataset
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.evaluation.datasets.positions import within


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def answers(image_set):
    """{name of the query: names of its right answers}."""
    return {
        query.name: [image_set.database[i].name for i in right]
        for query, right in zip(image_set.queries, image_set.positives, strict=True)
    }


def test_within_counts_the_limit_itself_and_equals_all_distances():
    database = np.array([[0.0, 0.0], [25.0, 0.0], [25.01, 0.0], [0.0, -25.0]])
    (found,) = within(database, np.array([[0.0, 0.0]]), 25.0)
    assert found.tolist() == [0, 1, 3]
    random = np.random.default_rng(0)
    database, queries = random.uniform(0, 100, (200, 2)), random.uniform(0, 100, (30, 2))
    for query, found in zip(queries, within(database, queries, 25.0), strict=True):
        expected = np.flatnonzero(np.linalg.norm(database - query, axis=1) <= 25.0)
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("root", ["", "images/test"])
def test_coordinates_in_the_file_names(tmp_path, root):
    touch(
        tmp_path / root / "database", "@100.0@200@a@.jpg", "x/@125@200.0@b@.jpg", "@126@200@.png"
    )
    touch(tmp_path / root / "queries", "@0100@0200@q@.jpg", "@900@900@nobody@.jpg")
    image_set = open_dataset(tmp_path)
    assert answers(image_set) == {
        "@0100@0200@q@.jpg": ["@100.0@200@a@.jpg", "@125@200.0@b@.jpg"],
        "@900@900@nobody@.jpg": [],
    }
    assert image_set.unanswerable == 1
    assert image_set.query_frames is None
    near = open_dataset(tmp_path, DatasetOptions(radius_m=24.9))
    assert answers(near)["@0100@0200@q@.jpg"] == ["@100.0@200@a@.jpg"]


def test_other_folder_names_and_a_bad_file_name(tmp_path):
    touch(tmp_path, "day/@0@0@.jpg", "night/@0@0@.jpg")
    options = DatasetOptions(database="day", queries="night")
    assert answers(open_dataset(tmp_path, options)) == {"@0@0@.jpg": ["@0@0@.jpg"]}
    touch(tmp_path, "night/@east@0@.jpg")
    with pytest.raises(DatasetError, match=r"@east@0@.jpg is not named @utm_east"):
        open_dataset(tmp_path, options)


def test_aligned_folders(tmp_path):
    touch(tmp_path / "ref", "0.jpg", "1.jpg", "2.jpg", "3.jpg")
    touch(tmp_path / "query", "a.png", "b.png", "c.png", "d.png")
    image_set = open_dataset(tmp_path)
    assert answers(image_set)["a.png"] == ["0.jpg", "1.jpg"]
    assert answers(image_set)["c.png"] == ["1.jpg", "2.jpg", "3.jpg"]
    assert image_set.query_frames.tolist() == [0, 1, 2, 3]
    exact = open_dataset(tmp_path, DatasetOptions(frames=0))
    assert answers(exact)["d.png"] == ["3.jpg"]
    (tmp_path / "query" / "d.png").unlink()
    with pytest.raises(DatasetError, match=r"ref/ holds 4 images, query/ 3.*pairs.csv"):
        open_dataset(tmp_path)


def test_pairs(tmp_path):
    touch(tmp_path, "database/extra.jpg")
    table = tmp_path / "pairs.csv"
    table.write_text("query,match\nq1.jpg,a.jpg\nq1.jpg,b.jpg\nq2.jpg,\n,c.jpg\n")
    for path in (tmp_path, table):
        image_set = open_dataset(path)
        assert image_set.name == tmp_path.name
        assert answers(image_set) == {"q1.jpg": ["a.jpg", "b.jpg"], "q2.jpg": []}
        assert [p.name for p in image_set.database] == ["a.jpg", "b.jpg", "c.jpg", "extra.jpg"]
    table.write_text("query,answer\n")
    with pytest.raises(DatasetError, match="lacks the columns match"):
        open_dataset(tmp_path)
    table.write_text("query,match\nq1.jpg\n")
    with pytest.raises(DatasetError, match="line 2: too few values"):
        open_dataset(tmp_path)


def msls_side(folder, rows):
    folder.mkdir(parents=True)
    keys = [row[0] for row in rows]
    (folder / "postprocessed.csv").write_text(
        ",key,easting,northing\n"
        + "".join(f"{i},{k},{e},0\n" for i, (k, e, *_) in enumerate(rows))
    )
    (folder / "raw.csv").write_text(
        ",key,pano\n" + "".join(f"{i},{k},{pano}\n" for i, (k, _, pano, _) in enumerate(rows))
    )
    (folder / "subtask_index.csv").write_text(
        ",key,all\n" + "".join(f"{i},{k},{used}\n" for i, (k, _, _, used) in enumerate(rows))
    )
    return keys


def test_msls(tmp_path):
    database = [("a", 0, False, True), ("pano", 1, True, True), ("b", 20, False, True)]
    queries = [("q", 5, False, True), ("unused", 5, False, False), ("far", 500, False, True)]
    msls_side(tmp_path / "train_val" / "cph" / "database", database)
    msls_side(tmp_path / "train_val" / "cph" / "query", queries)
    # The other city's coordinates are the same: only cities keep them apart.
    msls_side(tmp_path / "train_val" / "sf" / "database", [("c", 5, False, True)])
    msls_side(tmp_path / "train_val" / "sf" / "query", [("r", 5, False, True)])
    for path in (tmp_path, tmp_path / "train_val"):
        image_set = open_dataset(path)
        assert answers(image_set) == {"q.jpg": ["a.jpg", "b.jpg"], "r.jpg": ["c.jpg"]}
    assert answers(open_dataset(tmp_path, DatasetOptions(part="sf"))) == {"r.jpg": ["c.jpg"]}
    with pytest.raises(DatasetError, match="no city 'rome', but cph, sf"):
        open_dataset(tmp_path, DatasetOptions(part="rome"))


def test_rtabmap_samples_look_back_only(tmp_path):
    (tmp_path / "revisits.csv").write_text("query,match,inliers\n41,2,80\n46,,0\n82,42,73\n")
    found = answers(open_dataset(tmp_path))
    assert found["41.jpg"] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert "46.jpg" not in found
    lap_1, lap_2 = (tuple(f"{i}.jpg" for i in range(a, a + 5)) for a in (0, 40))
    assert found["82.jpg"] == [*lap_1[1:], *lap_2]
    assert open_dataset(tmp_path).searchable.tolist() == [31, 72]


def test_campus_robot_by_distance_and_heading(tmp_path):
    touch(tmp_path, "image_0.png")
    rows = ["image_0.png,0,0,0", "q.png,3,0,0.1", "turned.png,4,0,3.1", "q2.png,50,0,0"]
    (tmp_path / "data.csv").write_text("\n".join(rows) + "\n")
    assert answers(open_dataset(tmp_path)) == {"q.png": ["image_0.png"], "q2.png": []}


def tower(folder, floor="floor8"):
    rows = ["image,floor,video,frame,area,split"]
    for frame in range(1, 8):
        side = "query" if frame == 4 else "gallery"
        rows.append(f"{frame}.jpg,{floor},v,{frame},hall,{side}")
    rows.append(f"other.jpg,{floor},w,4,hall,gallery")
    rows.append("trained.jpg,floor3,v,4,hall,gallery")
    (folder / "frames.csv").write_text("\n".join(rows) + "\n")


def test_ie_tower_tests_on_floors_of_its_own(tmp_path):
    tower(tmp_path)
    image_set = open_dataset(tmp_path)
    assert answers(image_set) == {"4.jpg": ["2.jpg", "3.jpg", "5.jpg", "6.jpg"]}
    assert "trained.jpg" not in [p.name for p in image_set.database]
    whole = open_dataset(tmp_path, DatasetOptions(part="all"))
    assert "trained.jpg" in [p.name for p in whole.database]
    with pytest.raises(DatasetError, match="no part 'tset'; give train, val, test or all"):
        open_dataset(tmp_path, DatasetOptions(part="tset"))
    tower(tmp_path, "floor99")
    with pytest.raises(DatasetError, match="does not know the floors floor99"):
        open_dataset(tmp_path)


def test_the_split_names_every_floor_once():
    split = split_of_floors()
    lines = Path(__file__).parents[2].joinpath("vpr_ros/evaluation/splits/ie_tower.csv")
    assert len(split) == len(lines.read_text().split()) - 1 == 20
    assert set(split.values()) == {"train", "val", "test"}


def test_home_streetview_over_time(tmp_path):
    rows = ["image,place,time_stage,yaw_aligned_deg,offset_known,n_fast"]
    rows += [f"old{yaw}.jpg,hall,0,{yaw},yes,99" for yaw in range(0, 360, 30)]
    rows += ["new.jpg,hall,3,0,yes,99", "blank.jpg,hall,3,30,yes,9", "lost.jpg,hall,3,60,no,99"]
    rows += ["a.jpg,study,0,0,yes,99", "rebuilt.jpg,study,2,0,yes,99"]
    (tmp_path / "frames.csv").write_text("\n".join(rows) + "\n")
    assert answers(open_dataset(tmp_path)) == {"new.jpg": ["old0.jpg", "old30.jpg", "old330.jpg"]}


def test_unknown_layouts_and_bad_options(tmp_path):
    with pytest.raises(DatasetError, match=r"no layout known here. Known are: .*pairs.csv.*MSLS"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="nowhere does not exist"):
        open_dataset(tmp_path / "nowhere")
    touch(tmp_path, "database/readme.txt", "queries/1.jpg")
    with pytest.raises(DatasetError, match=re.escape("database holds no JPEG or PNG")):
        open_dataset(tmp_path)
    with pytest.raises(ConfigError, match="radius is -1"):
        DatasetOptions(radius_m=-1)
    with pytest.raises(ConfigError, match="frames is -1"):
        DatasetOptions(frames=-1)


@pytest.mark.parametrize(
    ("name", "database", "queries"),
    [
        ("rtabmap_samples", 84, 40),
        ("campus_robot", 36, 36),
        ("corridor", 111, 111),
        ("ie_tower", 543, 114),
        ("home_streetview", 156, 537),
    ],
)
def test_real_sets(shared_data, name, database, queries):
    image_set = open_dataset(shared_data / name)
    assert (len(image_set.database), len(image_set.queries)) == (database, queries)
    assert image_set.unanswerable == 0
    assert all(p.is_file() for p in (*image_set.database, *image_set.queries))
