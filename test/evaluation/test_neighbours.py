# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The search in tiles finds what a plain one finds, in bounded memory."""

import tracemalloc

import numpy as np
import pytest

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.keyframe import Keyframe
from vpr_ros.evaluation import neighbours
from vpr_ros.evaluation.neighbours import find_neighbours
from vpr_ros.evaluation.replay import first_recent
from vpr_ros.evaluation.trajectory import Trajectory
from vpr_ros.evaluation.truth import LoopRule, PoseTruth


def drive(count, laps=3, size=16, seed=0):
    """Descriptors (N, size) and truth of a circle of 60 m driven several times."""
    random = np.random.default_rng(seed)
    angle = np.linspace(0, laps * 2 * np.pi, count)
    positions = np.stack([10 * np.cos(angle), 10 * np.sin(angle), 0 * angle], 1)
    half = (angle + np.pi / 2) / 2
    rotations = np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], 1)
    waves = np.stack([f(k * angle) for k in range(1, size // 2 + 1) for f in (np.cos, np.sin)], 1)
    vectors = waves + random.normal(0, 0.7, waves.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    trajectory = Trajectory(np.arange(count), positions, rotations)
    return vectors.astype(np.float32), PoseTruth(trajectory, LoopRule())


def plain(descriptors, limits, truth, count):
    """The same with loops."""
    nearest, right, best = [], [], []
    for query, limit in enumerate(limits):
        apart = truth.tile(slice(query, query + 1), slice(0, max(limit, 0)))[0]
        finite = np.isfinite(apart)
        nearest.append(int(apart.argmin()) if finite.any() else -1)
        scores = descriptors[: max(limit, 0)] @ descriptors[query]
        order = np.argsort(-scores, kind="stable")[:count]
        best.append((int(order[0]), scores[order[0]]) if len(order) else (-1, -np.inf))
        hits = [bool(finite[k]) for k in order]
        right.append(hits + [False] * (count - len(hits)))
    return (
        np.array(nearest),
        np.array(right),
        *(np.array(values) for values in zip(*best, strict=True)),
    )


@pytest.mark.parametrize(("rows", "columns"), [(7, 13), (64, 64), (512, 4096)])
def test_tiles_change_nothing(monkeypatch, rows, columns):
    monkeypatch.setattr(neighbours, "ROWS", rows)
    monkeypatch.setattr(neighbours, "COLUMNS", columns)
    descriptors, truth = drive(150)
    limits = np.arange(150) - 20
    got = find_neighbours(descriptors, limits, truth, 5)
    nearest, right, best, score = plain(descriptors, limits, truth, 5)
    assert (got.nearest == nearest).all()
    assert (got.right == right).all()
    assert (got.best == best).all()
    assert np.allclose(got.score, score, atol=1e-6)
    assert 0 < got.recall_at(1) < got.recall_at(5) <= 1


def test_recall_at_k_by_hand():
    """Keyframes 0 and 1 are two places; 2 revisits 0 but looks more like 1; 3 is new."""
    descriptors = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    x = np.array([0.0, 50.0, 0.0, 900.0])
    rotations = np.tile([0.0, 0.0, 0.0, 1.0], (4, 1))
    trajectory = Trajectory(np.arange(4), np.stack([x, 0 * x, 0 * x], 1), rotations)
    found = find_neighbours(descriptors, np.array([0, 0, 2, 2]), PoseTruth(trajectory, LoopRule()))
    assert found.nearest.tolist() == [-1, -1, 0, -1]
    assert (found.recall_at(1), found.recall_at(5)) == (0.0, 1.0)  # of one revisit


@pytest.mark.parametrize("stamps", [range(60), [*range(40), *range(5, 25)]])
def test_the_exclusion_is_the_database_s(stamps, make_answer):
    """Also where time jumps back: older sessions are never too fresh."""
    config = DatabaseConfig(exclude_recent_s=12.5, exclude_recent_keyframes=7)
    database, answers, expected = Database(config), [], []
    for id, t_s in enumerate(stamps):
        stamp = t_s * 10**9
        vector = np.eye(4, dtype=np.float32)[id % 4]
        found = database.search_older(vector, stamp, 1000)
        expected.append(1 + max((c.place.sequence for c in found), default=-1))
        place = database.add(Keyframe(id, stamp, "m", 0.0, vector))
        answers.append(make_answer(t_s, session=place.session))
    limits = np.maximum(first_recent(answers, config), 0)
    assert limits.tolist() == expected


def test_memory_is_bounded():
    """Twice the keyframes cost no more than their own bytes and the promised tile."""
    peaks = []
    for count in (6000, 12000):
        descriptors, truth = drive(count, size=32)
        descriptors = descriptors.astype(np.float16)
        limits = np.arange(count) - 20
        tracemalloc.start()
        find_neighbours(descriptors, limits, truth)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < neighbours.TILE_BYTES + 40 * 12000
    assert peaks[1] - peaks[0] < 40 * 6000 + 1e6
