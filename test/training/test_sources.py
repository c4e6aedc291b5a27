# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of single pictures and of places, and a recipe's share of a source."""

from pathlib import Path

import cv2
import pytest
from students import TUNE, recipe_of

from vpr_ros.evaluation.image_set import DatasetError
from vpr_ros.training.recipe import Source
from vpr_ros.training.sources import load_places, read_shares


@pytest.fixture
def folder(tmp_path, picture):
    for number, name in enumerate(("a.jpg", "hut/b.png", "hut/c.png", "lake/d.png", "plan.png")):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(number))
    return tmp_path / "set"


def test_every_picture_is_a_place(folder):
    places = load_places("photographs", folder, {"exclude": "plan, nothing"})
    found = sorted(str(Path(view).relative_to(folder)) for (view,) in places.views)
    assert found == ["a.jpg", "hut/b.png", "hut/c.png", "lake/d.png"]
    assert places.name == "set"


def test_every_folder_is_a_place(folder):
    places = load_places("folders", folder, {"exclude": "plan"})
    found = [sorted(Path(view).name for view in views) for views in places.views]
    assert sorted(found) == [["a.jpg"], ["b.png", "c.png"], ["d.png"]]


def test_a_limit_keeps_places_evenly_spaced(folder):
    source = Source("photographs", "set", weight=2.0, limit=2)
    (share,) = read_shares(recipe_of(TUNE, sources=(source,)), folder.parent)
    assert [Path(view).name for (view,) in share.places.views] == ["a.jpg", "d.png"]
    assert share.weight == 2.0


@pytest.mark.parametrize("layout", ["photographs", "folders"])
def test_a_folder_without_pictures_is_an_error(tmp_path, layout):
    with pytest.raises(DatasetError, match="holds no JPEG or PNG pictures"):
        load_places(layout, tmp_path)


def test_real_facades(shared_data):
    places = load_places("photographs", shared_data / "facades")
    assert len(places) == 249
    assert places.name == "facades"
