# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who is found first, and the recalls that follow, worked by hand."""

import faiss
import numpy as np
import pytest

from vpr_ros.evaluation import ranking
from vpr_ros.evaluation.ranking import (
    NOBODY,
    RANKS,
    Ranked,
    Ranking,
    best,
    recall_at_full_precision,
    recalls,
)


def unit(*degrees):
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def rank(queries, database, chunk, searchable=None):
    found = Ranking(queries, searchable)
    for start in range(0, len(database), chunk):
        found.add(database[start : start + chunk], start)
    return found.ranked().indices


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_order_and_padding(chunk):
    indices = rank(unit(10), unit(50, 0, 12, 90), chunk)
    assert indices[0, :4].tolist() == [2, 1, 0, 3]
    assert indices[0, 4:].tolist() == [NOBODY] * (RANKS[-1] - 4)


@pytest.mark.parametrize("chunk", [1, 3, 40])
def test_ties_keep_the_order_of_the_database(chunk):
    indices = rank(unit(0), unit(*[0] * 40), chunk)
    assert indices[0].tolist() == list(range(RANKS[-1]))


def test_a_query_sees_only_what_is_searchable():
    database = unit(0, 1, 2, 3)
    indices = rank(unit(3, 3), database, 2, searchable=np.array([2, 0]))
    assert indices[0, :3].tolist() == [1, 0, NOBODY]
    assert (indices[1] == NOBODY).all()


@pytest.mark.parametrize("block", [50, ranking.BLOCK])
def test_same_answers_as_faiss_by_euclidean_distance(monkeypatch, block):
    monkeypatch.setattr(ranking, "BLOCK", block)
    random = np.random.default_rng(0)
    database, queries = (random.normal(size=(n, 16)).astype(np.float32) for n in (300, 20))
    for vectors in (database, queries):
        faiss.normalize_L2(vectors)
    index = faiss.IndexFlatL2(16)
    index.add(database)
    _, expected = index.search(queries, RANKS[-1])
    assert (rank(queries, database, 70) == expected).all()


def test_best_of_equal_scores():
    scores = np.array([[1, 3, 2, 3, 2, 2]], dtype=np.float32)
    values, index = best(scores, 4)
    assert values.tolist() == [[3, 3, 2, 2]]
    assert index.tolist() == [[1, 3, 2, 4]]


def test_recalls_by_hand():
    # Query 0: right at once; 1: at rank 5; 2: at rank 6; 3: not among 20; 4: has no answer.
    indices = np.arange(20) + np.zeros((5, 1), dtype=int)
    positives = [np.array(p, dtype=int) for p in ([0, 7], [4, 9], [5], [99], [])]
    assert recalls(indices, positives) == {1: 20.0, 5: 40.0, 10: 60.0, 20: 60.0}


def test_a_missing_answer_is_never_right():
    indices = np.full((1, 20), NOBODY)
    assert recalls(indices, [np.array([0])]) == {1: 0.0, 5: 0.0, 10: 0.0, 20: 0.0}


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
        assert found[n] == pytest.approx(100 * hits / 50)


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
    return recall_at_full_precision(Ranked(indices, scores), positives)


def test_recall_at_full_precision_by_hand():
    right, wrong, hopeless = (True, True), (False, True), (False, False)
    assert full_precision((0.9, *right), (0.8, *right), (0.7, *wrong), (0.6, *right)) == 50.0
    assert full_precision((0.9, *right), (0.8, *right)) == 100.0
    assert full_precision((0.9, *wrong), (0.8, *right)) == 0.0  # the best score is wrong
    assert full_precision((0.9, *right), (0.9, *wrong)) == 0.0  # no threshold parts equal scores
    # A query without an answer sets the limit but is not in the denominator.
    assert full_precision((0.9, *right), (0.8, *hopeless), (0.7, *right)) == 50.0
    assert full_precision((0.9, *right), (-np.inf, *wrong)) == 50.0  # found nothing at all
    assert full_precision((0.9, *hopeless)) is None
