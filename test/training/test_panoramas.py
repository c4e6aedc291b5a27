# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Views of panoramas: turned ones, and ones years apart."""

from pathlib import Path

import pytest

from vpr_ros.evaluation.datasets.image_set import DatasetError
from vpr_ros.training.sources import load_places

POLY = ["image", "place", "yaw_deg", "n_fast"]
HOME = ["image", "place", "time_stage", "yaw_aligned_deg", "offset_known", "n_fast"]


def stems(places):
    return [{Path(view).stem for view in views} for views in places.views]


def test_neighbouring_headings_in_all_exposures_are_one_place(write_set):
    rows = [
        (f"{place}/{exposure}_{yaw}.jpg", place, yaw, 0 if (place, yaw) == ("park", 60) else 90)
        for place in ("park", "square")
        for exposure in ("e0", "e1")
        for yaw in (0, 30, 60, 330)
    ]
    write_set("frames.csv", POLY, rows)
    places = load_places("polyhaven_hdri", Path(write_set("frames.csv", POLY, rows)).parent)
    park = [s for s, v in zip(stems(places), places.views, strict=True) if "park" in v[0]]
    assert park == [
        {"e0_0", "e1_0", "e0_30", "e1_30"},
        {"e0_30", "e1_30"},  # 60 is blank
        {"e0_330", "e1_330", "e0_0", "e1_0"},
    ]
    square = [i for i, views in enumerate(places.views) if "square" in views[0]]
    for i in range(len(places)):
        others = {j for j in square if j != i} if i in square else set(range(3)) - {i}
        assert set(places.overlapping(i).tolist()) == others


def test_a_room_is_one_place_at_all_stages(write_set):
    rows = [
        (f"{room}_{stage}_{yaw}.jpg", room, stage, yaw, "no" if room == "yard" else "yes", fast)
        for room in ("hall", "attic", "study", "yard")
        for stage in (0, 1, 2)
        for yaw in (0, 30)
        for fast in [10 if (room, stage) == ("attic", 1) else 80]
    ]
    places = load_places("home_streetview", write_set("frames.csv", HOME, rows).parent)
    assert stems(places) == [
        {"attic_0_0", "attic_2_0"},
        {"attic_0_30", "attic_2_30"},
        {"hall_0_0", "hall_1_0", "hall_2_0"},
        {"hall_0_30", "hall_1_30", "hall_2_30"},
    ]
    assert [places.overlapping(i).tolist() for i in range(4)] == [[1], [0], [3], [2]]


@pytest.mark.parametrize(
    ("layout", "columns"), [("polyhaven_hdri", POLY), ("home_streetview", HOME)]
)
def test_missing_images_and_tables_are_errors(write_set, tmp_path, layout, columns):
    with pytest.raises(DatasetError, match=r"frames\.csv does not exist"):
        load_places(layout, tmp_path / "nowhere")
    values = {"place": "hall", "offset_known": "yes", "n_fast": 80}
    rows = [[f"{i}.jpg", *(values.get(c, 0) for c in columns[1:])] for i in range(2)]
    write_set("frames.csv", columns, rows, images=False)
    with pytest.raises(DatasetError, match=r"0\.jpg does not exist"):
        load_places(layout, tmp_path)
    write_set("frames.csv", columns, rows[:1])
    with pytest.raises(DatasetError, match="no places"):
        load_places(layout, tmp_path)


def test_real_panoramas(shared_data):
    """One of the 35 places of polyhaven_hdri is too blank in all directions, at night."""
    for layout, panoramas in (("polyhaven_hdri", 34), ("home_streetview", 10)):
        places = load_places(layout, shared_data / layout)
        panorama = [{Path(view).parts[-3] for view in views} for views in places.views]
        assert all(len(names) == 1 for names in panorama)
        assert len(set.union(*panorama)) == panoramas
        for i, mine in enumerate(panorama):
            near = {j for j, other in enumerate(panorama) if other == mine}
            assert set(places.overlapping(i).tolist()) == near - {i}
