# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of an answer shows both views, and its lines join what belongs together."""

import dataclasses

import cv2
import numpy as np
import pytest

from vpr_ros.core.closure_picture import GAP, GREEN, PANEL, RED, closure_picture
from vpr_ros.core.keyframe import Place, Thumbnail
from vpr_ros.core.verifier import Verification

TOP = 22  # px, under one line of text


@pytest.fixture
def make_place(make_features):
    """make(grey level, size of the thumbnail): a place with features at (100, 50), (300, 200)."""

    def make(level, size=(120, 160)):
        jpeg = cv2.imencode(".jpg", np.full((*size, 3), level, np.uint8))[1].tobytes()
        features = make_features([(99.5, 49.5), (299.5, 199.5), (1e5, -1e5)])
        return Place(0, 0, 1, 0, 0.0, "", None, "", features, Thumbnail(jpeg, 640))

    return make


def verification(*pairs):
    return Verification(pairs=np.array(pairs, np.int64).reshape(-1, 2))


def near(picture, x, y, colour):
    """Whether a pixel has nearly this colour."""
    return np.abs(picture[round(y), round(x)].astype(int) - colour).max() < 40


def test_query_and_match_stand_side_by_side_and_lines_join_the_pairs(make_place):
    query, match = make_place(200), make_place(100)
    picture = closure_picture(query, match, verification((0, 1)), "keyframe 1: loop", True)
    assert picture.shape == (TOP + 240, 2 * PANEL + GAP, 3)
    assert near(picture, 10, TOP + 230, (200,) * 3) and near(picture, 630, TOP + 30, (100,) * 3)
    assert picture[:TOP].any(), "the text"
    (ax, ay), (bx, by) = (50, TOP + 25), (PANEL + GAP + 150, TOP + 100)  # half the pixels
    for along in (0.0, 0.5, 1.0):
        assert near(picture, ax + along * (bx - ax), ay + along * (by - ay), GREEN)
    rejected = closure_picture(query, match, verification((0, 1)), "no", False)
    assert near(rejected, ax, ay, RED)


def test_a_map_without_thumbnails_leaves_the_text(make_place):
    query = make_place(200)
    for match in (
        dataclasses.replace(query, thumbnail=None),
        dataclasses.replace(query, thumbnail=Thumbnail(b"\xff\xd8 no picture \xff\xd9", 640)),
    ):
        picture = closure_picture(query, match, verification((0, 1)), "keyframe 1", True)
        assert picture[:TOP].any() and not near(picture, 50, TOP + 25, GREEN)


@pytest.mark.parametrize("size", [(160, 120), (8, 160), (1, 1)])
def test_any_shape_of_picture_and_any_feature_fits(make_place, size):
    query, match = make_place(200, size), make_place(100)
    pairs = verification((2, 2), *[(0, 1)] * 500)
    for found, text in ((pairs, "x" * 10_000), (verification(), ""), (None, "ü\n\0")):
        picture = closure_picture(query, match, found, text, True)
        assert picture.shape[1] == 2 * PANEL + GAP and picture.shape[0] <= PANEL + 60
