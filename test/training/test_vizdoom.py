# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered places as a source of training."""

import pytest

from vpr_ros.evaluation.datasets.image_set import DatasetError
from vpr_ros.training.sources import load_places
from vpr_ros.training.sources.vizdoom import COLUMNS, TABLE


def test_places_of_one_map_overlap_when_near_and_alike_in_heading(write_set, tmp_path):
    poses = [(0, 0, 350), (4, 0, 20), (4, 0, 90), (6, 0, 350)]
    for level in ("freedoom1/E1M1", "freedoom2/MAP02"):
        rows = [
            (f"{place}_{view}.jpg", level, place, *pose)
            for place, pose in enumerate(poses)
            for view in range(2)
        ]
        write_set(f"{level.replace('/', '_')}/{TABLE}", COLUMNS, rows)
    places = load_places("vizdoom", tmp_path)
    assert [len(views) for views in places.views] == [2] * 8
    assert [places.overlapping(i).tolist() for i in range(4)] == [[1], [0, 3], [], [1]]
    assert places.group_members(1).tolist() == [0, 1, 2, 3]


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(DatasetError, match="render_places"):
        load_places("vizdoom", tmp_path)
