# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Matched pairs to look at: which to show, and what to say of each."""

from __future__ import annotations

import dataclasses

import numpy as np

from demo.results import Results
from demo.score import Verdict
from demo.truth import View
from vpr_ros.evaluation.tally import Outcome

RIGHT_PAIRS, OTHER_PAIRS = 6, 4


@dataclasses.dataclass(frozen=True)
class Pair:
    """A query and what it was matched with, or should have been."""

    outcome: Outcome
    query: View
    other: View
    text: str
    images: tuple[np.ndarray, np.ndarray]  # BGR: query, other


def choose(results: Results, outcome: Outcome, count: int) -> list[Pair]:
    """At most `count` pairs of this outcome, evenly spread over the drive."""
    found = [v for v in results.score.verdicts if v.outcome is outcome]
    if len(found) > count:
        middles = (np.arange(count) + 0.5) * len(found) / count
        found = [found[int(k)] for k in middles]
    others = [_other(verdict) for verdict in found]
    images = results.pictures(
        {v.query.stamp_ns for v in found} | {view.stamp_ns for view in others}
    )
    return [
        Pair(outcome, v.query, view, _words(v, view),
             (images[v.query.stamp_ns], images[view.stamp_ns]))
        for v, view in zip(found, others, strict=True)
    ]  # fmt: skip


def _other(verdict: Verdict) -> View:
    view = verdict.match or verdict.true
    assert view is not None, "keyframes with nothing to find have no pair"
    return view


def _words(verdict: Verdict, other: View) -> str:
    apart = (
        f"{verdict.query.distance_m(other):.1f} m and {verdict.query.turn_deg(other):.0f}° apart"
    )
    if verdict.closure is None:
        return f"{apart}; {verdict.answer.message}"
    return f"{apart}; score {verdict.closure.score:.3f}, {verdict.closure.inliers} inliers"
