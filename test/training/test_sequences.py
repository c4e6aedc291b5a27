# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places along walks: what is one place, what is another, and what nobody knows."""

import itertools
from pathlib import Path

import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.datasets.ie_tower import split_of_floors
from vpr_ros.evaluation.datasets.image_set import DatasetError
from vpr_ros.training.sources import load_places

FRAMES = ["image", "sequence", "frame"]
POSES = ["image", "sequence", "x", "y", "yaw_deg"]


def middle(places, place):
    """The name of the image that a place is built around, without its suffix."""
    return Path(places.views[place][0]).stem


def names(places, place):
    return {Path(view).stem for view in places.views[place]}


def test_frames_within_reach_are_one_place(write_set):
    table = write_set("walk.csv", FRAMES, [(f"{i}.jpg", "walk", i) for i in (1, 2, 3, 4, 9)])
    places = load_places("sequences", table, {"reach": 1.0, "apart": 2.0})
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
        (f"{site}_{seq}_{i}.jpg", f"{site}_{seq}", i, site, "hall")
        for site, seq in (("f1", "a"), ("f1", "b"), ("f2", "a"))
        for i in range(3)
    ]
    table = write_set("tower.csv", [*FRAMES, "site", "group"], rows)
    places = load_places("sequences", table, {"reach": 1.0, "apart": 2.0})
    assert len(places) == 9
    for a, b in itertools.permutations(range(9), 2):
        same_site = middle(places, a)[:2] == middle(places, b)[:2]
        assert (b in places.overlapping(a)) == same_site
    assert places.group_members(0).tolist() == list(range(9))


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
    options = {"unit": "metres", "reach": 2.0, "apart": 10.0}
    places = load_places("sequences", table, options)
    found = {middle(places, i): names(places, i) for i in range(len(places))}
    assert found["a"] == found["b"] == {"a", "b"}
    assert found["c"] == found["d"] == {"c", "d"}  # two sequences of one site
    assert found["e"] == found["f"] == {"e", "f"}  # across north
    index = {middle(places, i): i for i in range(len(places))}
    assert places.overlapping(index["a"]).tolist() == [index["b"]]
    assert places.overlapping(index["c"]).tolist() == [index["d"]]


def test_bad_tables_and_options_are_errors(write_set, tmp_path):
    table = write_set("walk.csv", FRAMES, [(f"{i}.jpg", "walk", i) for i in range(3)])
    with pytest.raises(ConfigError, match="twice 'reach'"):
        load_places("sequences", table, {"reach": 2.0, "apart": 3.0})
    with pytest.raises(ConfigError, match="apart_turn_deg"):
        load_places("sequences", table, {"turn_deg": 40.0, "apart_turn_deg": 60.0})
    with pytest.raises(DatasetError, match="lacks the columns x, y, yaw_deg"):
        load_places("sequences", table, {"unit": "metres"})
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1\.jpg does not exist"):
        load_places("sequences", table)
    with pytest.raises(DatasetError, match=r"none\.csv does not exist"):
        load_places("sequences", tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="no source 'sequence'; give one of"):
        load_places("sequence", table)


def test_ie_tower_trains_on_training_floors_only(shared_data):
    places = load_places("ie_tower", shared_data / "ie_tower")
    split = split_of_floors()
    floors = [Path(views[0]).parent.name for views in places.views]
    assert {split[Path(view).parent.name] for views in places.views for view in views} == {"train"}
    assert len(set(floors)) == sum(part == "train" for part in split.values())
    for place, views in enumerate(places.views):
        video, frame = _video_and_frame(views[0])
        for view in views[1:]:
            other_video, other = _video_and_frame(view)
            assert video == other_video and abs(frame - other) <= 2
        overlapping = set(places.overlapping(place).tolist())
        for other in range(0, len(places), 7):
            if other == place or floors[other] != floors[place]:
                assert other not in overlapping
            else:
                other_video, other_frame = _video_and_frame(places.views[other][0])
                apart = other_video == video and abs(other_frame - frame) > 6
                assert (other in overlapping) == (not apart)
    halls = places.group_members(
        next(i for i, v in enumerate(places.views) if "f10_hallway" in v[0])
    )
    assert len({floors[i] for i in halls}) > 5


def _video_and_frame(view):
    video, frame = Path(view).stem.rsplit("_frame_", 1)
    return video, int(frame)


def test_ie_tower_refuses_metres(tmp_path):
    with pytest.raises(DatasetError, match="unit is frames"):
        load_places("ie_tower", tmp_path, {"unit": "metres"})
