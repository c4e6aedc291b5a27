# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The loop detector on data sets: who is a candidate for whom, and what counts as right."""

import dataclasses

import cv2
import numpy as np
import pytest

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation import set_decisions
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.image_set import ImageSet
from vpr_ros.evaluation.set_decisions import decide

COUNT = 6


@pytest.fixture(scope="module")
def encoder():
    return Encoder(find_model("mobilenetv2-gem"))


@pytest.fixture
def pictures(tmp_path, picture):
    """Each query is one of the map's pictures, taken a little aside."""
    database, queries = [], []
    for number in range(COUNT):
        for files, left in ((database, 0), (queries, 12)):
            files.append(tmp_path / f"{number}_{left}.png")
            cv2.imwrite(str(files[-1]), picture(number)[:, left : left + 308])
    right = tuple(np.array([number]) for number in range(COUNT))
    return ImageSet("pictures", tuple(database), tuple(queries), right, "the same")


def test_every_image_of_the_map_can_be_found_and_no_query(pictures, encoder):
    found = decide(pictures, encoder)
    assert [d.match for d in found.found] == list(range(COUNT))  # the last one for query 5, too
    assert {d.outcome for d in found.found} == {Outcome.RIGHT} and found.closed == 1.0
    assert found.found[0].message.startswith("loop with image 0 ")
    twice = dataclasses.replace(pictures, queries=pictures.queries[:1] * COUNT)
    found = decide(twice, encoder)
    assert {d.match for d in found.found} == {0}  # not one another
    assert (len(found.of(Outcome.RIGHT)), len(found.of(Outcome.WRONG))) == (1, COUNT - 1)


def test_a_drive_is_searched_for_its_own_past(pictures, encoder):
    limits = np.array([1, 1, 1, 6, 6, 6])
    right = tuple(r[r < limit] for r, limit in zip(pictures.positives, limits, strict=True))
    drive = dataclasses.replace(
        pictures, searchable=limits, positives=right, query_frames=np.arange(COUNT)
    )
    found = decide(drive, encoder).found
    assert [d.true for d in found] == [0, None, None, 3, 4, 5]
    assert {d.match for d in found[:3]} == {0}
    assert [d.match for d in found[3:]] == [3, 4, 5]
    assert not any(d.outcome is Outcome.WRONG for d in found)


def test_large_sets_and_unreadable_files_are_left_out(pictures, encoder, monkeypatch):
    pictures.queries[0].write_bytes(b"no image")
    pictures.database[1].unlink()
    found = decide(pictures, encoder)
    assert [d.query for d in found.found] == [1, 2, 3, 4, 5] and found.found[0].match != 1
    monkeypatch.setattr(set_decisions, "MOST_IMAGES", 2 * COUNT - 1)
    assert decide(pictures, encoder) is None
