# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A set of places refuses what would teach the wrong thing."""

import numpy as np
import pytest

from vpr_ros.evaluation.image_set import DatasetError
from vpr_ros.training.places import NO_GROUP, PlaceSet, group_numbers, overlaps_where


def test_groups_number_equal_names():
    groups = group_numbers(["hall", "", "lift", "hall"])
    assert groups[0] == groups[3] != groups[2]
    assert groups[1] == NO_GROUP
    places = PlaceSet("s", [["a"], ["b"], ["c"], ["d"]], groups=groups)
    assert places.group_members(0).tolist() == [0, 3]
    assert places.group_members(1).size == 0


def test_overlaps_leave_out_the_place_itself():
    position = np.array([0.0, 1.0, 5.0])
    overlaps = overlaps_where(3, lambda i: np.abs(position - position[i]) <= 1.0)
    assert [row.tolist() for row in overlaps] == [[1], [0], []]


@pytest.mark.parametrize(
    ("views", "overlaps", "groups", "said"),
    [
        ([], (), None, "no places"),
        ([["a"], []], (), None, "place 1 has no views"),
        ([["a"], ["b"]], ([1],), None, "overlaps for 1"),
        ([["a"], ["b"]], ([1], []), None, "both ways"),
        ([["a"]], ([0],), None, "both ways"),
        ([["a"], ["b"]], (), np.zeros(3, np.int64), "groups for 3"),
    ],
)
def test_contradictions_are_named(views, overlaps, groups, said):
    with pytest.raises(DatasetError, match=said):
        PlaceSet("s", views, [np.array(row, np.int64) for row in overlaps], groups)


def test_a_part_of_a_set_keeps_its_overlaps_and_groups():
    position = np.arange(6)
    overlaps = overlaps_where(6, lambda i: np.abs(position - position[i]) <= 2)
    whole = PlaceSet("s", [[str(i)] for i in range(6)], overlaps, position % 2)
    part = whole.only([5, 3, 0])
    assert [views[0] for views in part.views] == ["5", "3", "0"]
    assert [part.overlapping(i).tolist() for i in range(3)] == [[1], [0], []]
    assert part.group_members(0).tolist() == [0, 1]
    assert len(PlaceSet("s", [["a"], ["b"]]).only([1])) == 1
