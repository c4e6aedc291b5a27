# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of places and of frames: what is one place, what another, and what is unknown."""

import itertools
from pathlib import Path

import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.image_set import DatasetError
from vpr_ros.training.sources import load_places

FRAMES = ["image", "sequence", "frame"]
POSES = ["image", "sequence", "x", "y", "yaw_deg"]
PLACES = ["image", "place", "site"]
RENDERED = ["image", "place", "site", "group", "x", "y", "yaw_deg"]


def middle(places, place):
    """The name of the image that a place is built around, without its suffix."""
    return Path(places.views[place][0]).stem


def names(places, place):
    return {Path(view).stem for view in places.views[place]}


def test_frames_within_reach_are_one_place(write_set):
    table = write_set("walk.csv", FRAMES, [(f"{i}.jpg", "walk", i) for i in (1, 2, 3, 4, 9)])
    places = load_places("places", table, {"reach": 1.0, "apart": 2.0})
    assert places.name == "walk"
    assert [names(places, i) for i in range(len(places))] == [
        {"1", "2"},
        {"1", "2", "3"},
        {"2", "3", "4"},
        {"3", "4"},
    ]  # frame 9 is alone: no place
    assert places.overlapping(0).tolist() == [1, 2]
    assert places.overlapping(3).tolist() == [1, 2]


def test_sites_groups_and_sequences(write_set):
    rows = [
        (f"{site}_{seq}_{i}.jpg", seq, i, site, "hall")
        for site, seq in (("f1", "a"), ("f1", "b"), ("f2", "a"))
        for i in range(3)
    ]
    table = write_set("tower.csv", [*FRAMES, "site", "group"], rows)
    places = load_places("places", table, {"reach": 1.0, "apart": 2.0})
    assert len(places) == 9
    for a, b in itertools.permutations(range(9), 2):
        same_site = middle(places, a)[:2] == middle(places, b)[:2]
        assert (b in places.overlapping(a)) == same_site
    assert places.group_members(0).tolist() == list(range(9))


def test_frames_far_apart_in_one_sequence_are_different(write_set):
    table = write_set("walk.csv", [*FRAMES, "site"], [(f"{i}.jpg", "a", i, "s") for i in range(9)])
    places = load_places("places", table, {"reach": 1.0, "apart": 3.0})
    for a, b in itertools.permutations(range(9), 2):
        assert (b in places.overlapping(a)) == (abs(a - b) <= 3)


def test_poses_tell_by_distance_and_heading(write_set):
    rows = [
        ("a.jpg", "there", 0, 0, 0),
        ("b.jpg", "there", 1, 0, 5),
        ("c.jpg", "there", 1, 0, 180),  # looking back
        ("d.jpg", "back", 1.5, 0, 175),
        ("e.jpg", "back", 30, 0, 359),
        ("f.jpg", "back", 30, 1, 2),
    ]
    table = write_set("drive.csv", [*POSES, "site"], [(*row, "campus") for row in rows])
    places = load_places("places", table, {"reach": 2.0, "apart": 10.0})
    found = {middle(places, i): names(places, i) for i in range(len(places))}
    assert found["a"] == found["b"] == {"a", "b"}
    assert found["c"] == found["d"] == {"c", "d"}  # two sequences of one site
    assert found["e"] == found["f"] == {"e", "f"}  # across north
    index = {middle(places, i): i for i in range(len(places))}
    assert places.overlapping(index["a"]).tolist() == [index["b"]]
    assert places.overlapping(index["c"]).tolist() == [index["d"]]


def test_images_of_one_place_are_its_views_and_places_of_a_site_never_meet(write_set):
    rows = [
        ("hall/0.jpg", "hall 0", "hall"),
        ("hall/30.jpg", "hall 0", "hall"),
        ("hall/30.jpg", "hall 30", "hall"),  # an image may show two places
        ("hall/60.jpg", "hall 30", "hall"),
        ("lift/0.jpg", "lift 0", ""),
    ]
    places = load_places("places", write_set("rooms.csv", PLACES, rows))
    assert [names(places, i) for i in range(3)] == [{"0", "30"}, {"30", "60"}, {"0"}]
    assert [places.overlapping(i).tolist() for i in range(3)] == [[1], [0], []]
    alone = load_places("places", write_set("plain.csv", PLACES[:2], [row[:2] for row in rows]))
    assert len(alone) == 3 and not any(len(row) for row in alone.overlaps)


def test_a_folder_of_tables_with_poses_overlaps_where_near_and_alike_in_heading(
    write_set, tmp_path
):
    poses = [(0, 0, 350), (4, 0, 20), (4, 0, 90), (6, 0, 350)]
    for level in ("E1M1", "MAP02", ".MAP03.part"):
        rows = [
            (f"{place}_{view}.jpg", place, level, level, *pose)
            for place, pose in enumerate(poses)
            for view in range(2)
        ]
        write_set(f"{level}/places.csv", RENDERED, rows)
    places = load_places("places", tmp_path, {"apart": 5.0})
    assert [len(views) for views in places.views] == [2] * 8
    assert [places.overlapping(i).tolist() for i in range(4)] == [[1], [0, 3], [], [1]]
    assert places.group_members(1).tolist() == [0, 1, 2, 3]


def test_bad_tables_and_options_are_errors(write_set, tmp_path):
    table = write_set("walk.csv", FRAMES, [(f"{i}.jpg", "walk", i) for i in range(3)])
    with pytest.raises(ConfigError, match="twice 'reach'"):
        load_places("places", table, {"reach": 2.0, "apart": 3.0})
    with pytest.raises(ConfigError, match="apart_turn_deg"):
        load_places("places", table, {"turn_deg": 40.0, "apart_turn_deg": 60.0})
    with pytest.raises(DatasetError, match="lacks the columns frame"):
        load_places("places", write_set("drive.csv", FRAMES[:2], [("1.jpg", "walk")]))
    with pytest.raises(DatasetError, match="lacks the columns yaw_deg"):
        load_places("places", write_set("drive.csv", ["image", "x", "y"], [("1.jpg", 1, 2)]))
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1\.jpg does not exist"):
        load_places("places", table)
    with pytest.raises(DatasetError, match=r"none\.csv does not exist"):
        load_places("places", tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty has no places; give .*places\.csv"):
        load_places("places", tmp_path / "empty")
    with pytest.raises(ConfigError, match="no source 'sequence'; give one of"):
        load_places("sequence", table)
