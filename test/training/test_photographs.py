# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of single pictures."""

from pathlib import Path

import cv2
import pytest

from vpr_ros.evaluation.datasets.image_set import DatasetError
from vpr_ros.training.sources import load_places


def test_every_picture_is_a_place_and_copies_count_once(tmp_path, picture):
    for name in ("a.jpg", "sub/b.png", "lake/1024x768.jpg", "lake/640x480.jpg", "hut/640x480.jpg",
                 "screenshot.png"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), picture(1))
    places = load_places("photographs", tmp_path, {"exclude": "screenshot, nothing"})
    found = sorted(str(Path(view).relative_to(tmp_path)) for (view,) in places.views)
    assert found == ["a.jpg", "hut/640x480.jpg", "lake/640x480.jpg", "sub/b.png"]


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="holds no JPEG or PNG pictures"):
        load_places("photographs", tmp_path)


def test_real_facades(shared_data):
    places = load_places("photographs", shared_data / "facades")
    assert len(places) == 249
    assert places.name == "facades"
