# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The baselines on images whose answers are known."""

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.evaluation import methods, seqslam
from vpr_ros.evaluation.methods import OrbBagOfWords, Thumbnail, majority_means, open_methods
from vpr_ros.evaluation.search import NOBODY
from vpr_ros.evaluation.seqslam import best_lines, local_contrast, search_sequences


def scene(seed):
    """A picture with corners: random blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(blocks, (320, 240), interpolation=cv2.INTER_NEAREST)


def test_thumbnail_by_hand():
    image = np.zeros((32, 64, 3), dtype=np.uint8)
    image[:8, :4] = 100  # the first patch: half 100, half 0; the others are blank
    descriptor = Thumbnail().describe(image).reshape(32, 64)
    value = 1 / np.sqrt(64)  # +1 and -1 over 64 pixels, then unit length
    assert np.allclose(descriptor[:8, :4], value)
    assert np.allclose(descriptor[:8, 4:8], -value)
    assert not descriptor[8:].any() and not descriptor[:, 8:].any()


def test_thumbnail_ignores_brightness_and_contrast_of_a_patch():
    image = scene(0)
    darker = (image // 2 + 10).astype(np.uint8)
    method = Thumbnail()
    assert method.describe(image) @ method.describe(darker) > 0.99
    assert abs(method.describe(image) @ method.describe(scene(1))) < 0.2
    assert not method.describe(np.full((48, 64, 3), 7, np.uint8)).any()


def test_majority_means_find_two_groups():
    low, high = np.zeros(32, np.uint8), np.full(32, 255, np.uint8)
    features = np.stack([low, high] * 5)
    features[0, 0] = 1  # one bit astray
    centres = majority_means(features, 2)
    assert sorted(c.tolist() for c in centres) == sorted([low.tolist(), high.tolist()])


def test_bag_of_words_recognises_what_it_has_seen():
    method = OrbBagOfWords()
    method.learn(6, scene)
    database = np.stack([method.describe(scene(i)) for i in range(6)])
    assert np.allclose(np.linalg.norm(database, axis=1), 1, atol=1e-5)
    shifted = np.roll(scene(4), 9, axis=1)
    assert (database @ method.describe(shifted)).argmax() == 4
    blank = method.describe(np.full((240, 320, 3), 128, np.uint8))
    assert blank.shape == database[0].shape and not blank.any()


def test_bag_of_words_without_features():
    with pytest.raises(ConfigError, match="shows 0 ORB features"):
        OrbBagOfWords().learn(1, lambda _: np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(ConfigError, match="no vocabulary yet"):
        OrbBagOfWords().describe(scene(0))


def test_words_in_every_image_weigh_nothing(monkeypatch):
    monkeypatch.setattr(methods, "WORDS", 1)
    method = OrbBagOfWords()
    method.learn(1, scene)
    assert not method.describe(scene(0)).any()  # log(1 image / 1 image) = 0


def test_local_contrast_by_hand(monkeypatch):
    monkeypatch.setattr(seqslam, "WINDOW", 1)
    difference = np.array([[0.0, 3.0, 0.0, 9.0]], dtype=np.float32)
    searched = np.array([[True, True, True, False]])
    contrast = local_contrast(difference, searched)
    # Windows (0, 3), (0, 3, 0), (3, 0): the last value is not searched and counts nowhere.
    assert np.allclose(contrast, [[-1, np.sqrt(2), -1, 0]])


def test_best_lines_by_hand(monkeypatch):
    monkeypatch.setattr(seqslam, "VELOCITIES", np.array([1.0, 2.0]))
    contrast = np.array([[-1, 0, 0], [0, -2, 0], [0, 0, 4]], dtype=np.float32)
    lines = best_lines(contrast, 2)
    # [1, 1] ends the line (-1, -2); at velocity 2 its past lies before the map and counts as 0.
    # [2, 2]: 4 + -2 at velocity 1, 4 + 0 at 2.
    assert np.allclose(lines, np.array([[-1, 0, 0], [0, -3, -1], [0, 0, 2]]) / 2)


def drives(confused):
    """Two drives past 12 places; frame `confused` of the second looks like place 2."""
    places = np.eye(12, dtype=np.float32)
    queries = 0.8 * places + 0.6 * np.roll(places, 5, axis=1)
    queries[confused] = 0.6 * places[confused] + 0.8 * places[2]
    return places, queries


def test_a_sequence_corrects_a_confusing_frame():
    database, queries = drives(confused=8)
    assert (queries[8] @ database.T).argmax() == 2
    found = search_sequences(queries, database, None, np.arange(12), length=4)
    assert found.best[8] == 8


def test_a_sequence_skips_frames_that_are_no_query_and_what_is_not_searched():
    database, queries = drives(confused=8)
    kept = np.array([5, 6, 8, 9])
    searchable = np.array([0, 12, 12, 12])
    indices = search_sequences(queries[kept], database, searchable, kept, 4).indices
    assert (indices[0] == NOBODY).all()
    assert indices[3, 0] == 9
    assert (indices[:, 12:] == NOBODY).all()


def test_sequences_that_cannot_be():
    _, queries = drives(8)
    with pytest.raises(ConfigError, match=r"A sequence of 1 frame\(s\) is not one"):
        search_sequences(queries, queries, None, np.arange(12), length=1)
    database = np.broadcast_to(queries[:1], (100_000_000, 12))
    with pytest.raises(ConfigError, match="12 x 100000000 differences"):
        search_sequences(queries, database, None, np.arange(12), length=4)


def test_methods_by_name():
    models, simple = open_methods(["tat-vpr-s"])
    assert [model.name for model in models] == ["tat-vpr-s", "mobilenetv2-gem"]
    assert [method.name for method in simple] == ["thumbnail", "orb-bow"]
    assert open_methods(["mobilenetv2-gem"], baselines=False)[1] == []
    with pytest.raises(ConfigError, match="thumbnail is a baseline, not a model"):
        open_methods(["thumbnail"])
    with pytest.raises(ModelError, match="'orb' is neither a file nor a shipped model"):
        open_methods(["orb"])
