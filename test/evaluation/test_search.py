# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who is found first, and the recalls that follow, worked by hand; in bounded memory."""

import math
import tracemalloc

import faiss
import numpy as np
import pytest

import vpr_ros.evaluation.search as module
from vpr_ros.evaluation.image_set import ImageSet
from vpr_ros.evaluation.search import NOBODY, RANKS, Ranked, rank, search
from vpr_ros.evaluation.truth import LoopRule, Trajectory, judge, pose_truth


def unit(*degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def judged(ranked, positives):
    paths = tuple(range(len(positives)))
    return ImageSet("set", (0,), paths, tuple(positives), "same").judge(ranked)


def recalls(indices, positives):
    held = judged(Ranked(indices, np.zeros(indices.shape, np.float32)), positives)
    return {k: held.recall_at(k) for k in RANKS}


def test_order_and_padding():
    indices = search(unit(10), unit(50, 0, 12, 90)).indices
    assert indices[0, :4].tolist() == [2, 1, 0, 3]
    assert indices[0, 4:].tolist() == [NOBODY] * (RANKS[-1] - 4)


def test_ties_keep_the_order_of_the_database():
    indices = search(unit(0), unit(*[0] * 40)).indices
    assert indices[0].tolist() == list(range(RANKS[-1]))


def test_a_query_sees_only_what_is_searchable():
    database = unit(0, 1, 2, 3)
    indices = search(unit(3, 3), database, searchable=np.array([2, 0])).indices
    assert indices[0, :3].tolist() == [1, 0, NOBODY]
    assert (indices[1] == NOBODY).all()


@pytest.mark.parametrize("block", [100, 2100, module.BLOCK])
def test_same_answers_as_faiss_by_euclidean_distance(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    random = np.random.default_rng(0)
    database, queries = (random.normal(size=(n, 16)).astype(np.float32) for n in (300, 20))
    for vectors in (database, queries):
        faiss.normalize_L2(vectors)
    index = faiss.IndexFlatL2(16)
    index.add(database)
    _, expected = index.search(queries, RANKS[-1])
    assert (search(queries, database).indices == expected).all()


def test_best_of_equal_scores():
    scores = np.array([[1, 3, 2, 3, 2, 2]], dtype=np.float32)
    found = rank(scores, 4)
    assert found.scores.tolist() == [[3, 3, 2, 2]]
    assert found.indices.tolist() == [[1, 3, 2, 4]]


def test_recalls_by_hand():
    # Query 0: right at once; 1: at rank 5; 2: at rank 6; 3: not among 20; 4: has no answer.
    indices = np.arange(20) + np.zeros((5, 1), dtype=int)
    positives = [np.array(p, dtype=int) for p in ([0, 7], [4, 9], [5], [99], [])]
    assert recalls(indices, positives) == {1: 0.2, 5: 0.4, 10: 0.6, 20: 0.6}


def test_a_missing_answer_is_never_right():
    indices = np.full((1, 20), NOBODY)
    assert recalls(indices, [np.array([0])]) == dict.fromkeys(RANKS, 0.0)


def test_recalls_as_vpr_methods_evaluation_counts_them():
    """Its definition as plain loops: hits among the first N, over the count of all queries."""
    random = np.random.default_rng(1)
    indices = np.stack([random.permutation(60)[:20] for _ in range(50)])
    positives = [np.flatnonzero(random.random(60) < 0.08) for _ in range(50)]
    positives[7] = np.zeros(0, dtype=int)
    found = recalls(indices, positives)
    for n in RANKS:
        hits = 0
        for query in range(50):
            hits += any(image in positives[query] for image in indices[query, :n])
        assert found[n] == pytest.approx(hits / 50)


def full_precision(*queries):
    """Of (score of the first match, is it right, has the query a right image)."""
    indices = np.zeros((len(queries), RANKS[-1]), dtype=int)
    scores = np.full((len(queries), RANKS[-1]), -1.0, dtype=np.float32)
    scores[:, 0] = [score for score, _, _ in queries]
    indices[scores == -np.inf] = NOBODY
    positives = [
        np.array([0 if right else 7][: 1 if possible else 0], dtype=int)
        for _, right, possible in queries
    ]
    return judged(Ranked(indices, scores), positives).curve.recall_at_full_precision


def test_recall_at_full_precision_by_hand():
    right, wrong, hopeless = (True, True), (False, True), (False, False)
    assert full_precision((0.9, *right), (0.8, *right), (0.7, *wrong), (0.6, *right)) == 0.5
    assert full_precision((0.9, *right), (0.8, *right)) == 1.0
    assert full_precision((0.9, *wrong), (0.8, *right)) == 0.0  # the best score is wrong
    assert full_precision((0.9, *right), (0.9, *wrong)) == 0.0  # no threshold parts equal scores
    # A query without an answer sets the limit but is not in the denominator.
    assert full_precision((0.9, *right), (0.8, *hopeless), (0.7, *right)) == 0.5
    assert full_precision((0.9, *right), (-np.inf, *wrong)) == 0.5  # found nothing at all
    assert math.isnan(full_precision((0.9, *hopeless)))


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
    return vectors.astype(np.float32), pose_truth(trajectory, LoopRule())


def from_pose(trajectory, query, count):
    """Distance of the first `count` poses, and do they face the same way within 45 degrees?"""
    poses = [trajectory.pose(k) for k in range(count)]
    one = trajectory.pose(query)
    return (
        np.array([one.distance_m(other) for other in poses]),
        np.array([one.angle_deg(other) <= 45 for other in poses], bool),
    )


def plain(descriptors, limits, truth, count):
    """The same with loops."""
    nearest, right, best = [], [], []
    for query, limit in enumerate(limits):
        apart, facing = from_pose(truth.trajectory, query, max(limit, 0))
        finite = (apart <= 3.0) & facing
        nearest.append(int(np.where(finite, apart, np.inf).argmin()) if finite.any() else -1)
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


@pytest.mark.parametrize("block", [100, 1000, module.BLOCK])
def test_blocks_change_nothing(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    descriptors, truth = drive(150)
    limits = np.arange(150) - 20
    got = search(descriptors, descriptors, limits, 5)
    nearest, right, first, score = plain(descriptors, limits, truth, 5)
    assert (truth.nearest(limits) == nearest).all()
    assert (judge(got, truth, nearest).hits == right).all()
    assert (got.best == first).all()
    assert np.allclose(got.scores[:, 0], score, atol=1e-6)
    revisits = nearest >= 0
    recall = [judge(got, truth, nearest).recall_at(k) for k in (1, 5)]
    assert recall == [right[revisits, :k].any(axis=1).mean() for k in (1, 5)]
    assert 0 < recall[0] < recall[1] <= 1


def test_recall_at_k_by_hand():
    """Keyframes 0 and 1 are two places; 2 revisits 0 but looks more like 1; 3 is new."""
    descriptors = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    x = np.array([0.0, 50.0, 0.0, 900.0])
    rotations = np.tile([0.0, 0.0, 0.0, 1.0], (4, 1))
    trajectory = Trajectory(np.arange(4), np.stack([x, 0 * x, 0 * x], 1), rotations)
    truth, limits = pose_truth(trajectory, LoopRule()), np.array([0, 0, 2, 2])
    nearest = truth.nearest(limits)
    assert nearest.tolist() == [-1, -1, 0, -1]
    held = judge(search(descriptors, descriptors, limits), truth, nearest)
    assert [held.recall_at(k) for k in (1, 5)] == [0.0, 1.0]  # of one revisit


def test_memory_is_bounded():
    """Twice the keyframes cost no more than their own bytes and the promised block."""
    peaks, own_bytes = [], 20 * (8 + 4) + 32 * 4  # per keyframe: matches, scores, float32 values
    for count in (3000, 6000):
        descriptors = np.random.default_rng(0).normal(size=(count, 32)).astype(np.float16)
        tracemalloc.start()
        search(descriptors, descriptors, np.arange(count) - 20)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 24 * module.BLOCK + 2 * own_bytes * 6000
    assert peaks[1] - peaks[0] < 2 * own_bytes * 3000 + 1e6
