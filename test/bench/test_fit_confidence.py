# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fit follows its own gradient, finds what separates, and its limits keep their word."""

import itertools

import numpy as np
import pytest

from bench.confidence_sets import building_drive, keyframes
from bench.fit_confidence import Problem, Question, fit, likelihood, limits
from vpr_ros.core.loop_confidence import Evidence
from vpr_ros.core.verifier import Verification

NAMES = ["one", "drift", "significance to 32", "density"]


def asked(count=200):
    """Questions whose right match is the significant one, and some without a right one."""
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        right = np.array([number % 3 > 0, False, False])
        strong = 10 + 20 * random.random(3) + 15 * right
        seen = [Verification(50, significance=s, density=random.random()) for s in strong]
        evidence = [
            Evidence(0.5, random.random() * (not r), v) for r, v in zip(right, seen, strict=True)
        ]
        found.append(Question(evidence, right, np.eye(3, dtype=bool)))
    return found


def test_the_gradient_is_that_of_the_likelihood():
    problem = Problem.of([asked()], NAMES)
    weights = np.array([-1.0, -2.0, 1.5, 0.3])
    _, gradient = likelihood(weights, problem)
    step = 1e-6 * np.eye(4)
    numeric = [
        (likelihood(weights + s, problem)[0] - likelihood(weights - s, problem)[0]) / 2e-6
        for s in step
    ]
    assert gradient == pytest.approx(numeric, rel=1e-4, abs=1e-3)


def test_the_fit_separates_and_signs_are_plausible():
    problem = Problem.of([asked()], NAMES)
    weights = fit(problem, NAMES)
    assert weights[1] < 0 < weights[2] and weights[3] >= 0
    chances = problem.chances(weights)
    right = problem.right[np.arange(200), chances.argmax(axis=1)]
    found = limits(chances.max(axis=1), right, problem.weight)
    assert found == sorted(found)
    sure = chances.max(axis=1) >= found[2]
    assert right[sure].mean() >= 0.95


def test_views_of_one_place_are_no_rivals():
    evidence = [Evidence(0.5, None, Verification(50, significance=30.0, density=0.5))] * 2
    weights = np.array([0.0, 0.0, 2.0, 0.0])
    for same, most in ((np.ones((2, 2), bool), 0.87), (np.eye(2, dtype=bool), 0.47)):
        question = Question(evidence, np.array([True, False]), same)
        assert Problem.of([[question]], NAMES).chances(weights).max() == pytest.approx(most, 0.02)


def test_odometry_drifts_as_it_is_told(tmp_path):
    poses = keyframes()[:60]
    views = [building_drive(tmp_path, "building 1", poses, d).queries for d in (0.0, 1.0)]
    exact, drifting = ([view.pose for view in seen] for seen in views)
    assert all(p.x == pytest.approx(q.x_m) and p.y == pytest.approx(q.y_m)
               for p, q in zip(exact, poses, strict=True))  # fmt: skip
    way = sum(a.distance_m(b) for a, b in itertools.pairwise(exact))
    assert drifting[-1].angle_deg(exact[-1]) == pytest.approx(1.03 * way, rel=0.05)
