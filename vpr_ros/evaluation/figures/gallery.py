# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs to look at: the surest right ones, the surest wrong ones, and what was missed."""

from __future__ import annotations

import base64
import dataclasses

import cv2

from vpr_ros.core.images import Image
from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.images import pictures
from vpr_ros.evaluation.judge import Verdict
from vpr_ros.evaluation.tally import Outcome

COUNT = 6
APART = 5  # keyframes between two queries shown: neighbours would show one place six times
WIDTH, QUALITY = 320, 80  # px, as shown


@dataclasses.dataclass(frozen=True)
class Pair:
    """A query and what it was matched with, or should have been; images BGR."""

    kind: str  # right, wrong or missed
    query: int
    other: int
    text: str
    images: tuple[Image, Image]


@dataclasses.dataclass(frozen=True)
class Group:
    """Pairs of one kind."""

    title: str
    total: int
    pairs: list[Pair]


def choose_groups(run: BagRun, bag: Bag) -> list[Group]:
    """Best right, worst wrong (closures, and best matches that a gate stopped), missed."""
    verdicts = run.judgement.verdicts
    stopped = [
        v for v in verdicts
        if v.outcome in (Outcome.MISSED, Outcome.NEW) and v.answer.best is not None
        and not v.best_right
    ]  # fmt: skip
    picks = (
        ("Best right closures", "right", _of(run, Outcome.RIGHT)),
        ("Worst wrong closures", "wrong", _of(run, Outcome.WRONG)),
        ("Missed, and what should have been found", "missed", _of(run, Outcome.MISSED)),
        ("Highest wrong scores that a gate stopped", "stopped", stopped),
    )
    groups = []
    for title, kind, found in picks:
        best = _first_of_each_place(sorted(found, key=lambda v: -_rank(v)))
        if best:
            groups.append(Group(title, len(found), _pairs(run, bag, kind, best)))
    return groups


def data_uri(image: Image) -> str:
    """An image for an HTML page."""
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _of(run: BagRun, outcome: Outcome) -> list[Verdict]:
    return [v for v in run.judgement.verdicts if v.outcome is outcome]


def _first_of_each_place(ranked: list[Verdict]) -> list[Verdict]:
    chosen: list[Verdict] = []
    for verdict in ranked:
        if all(abs(verdict.index - other.index) > APART for other in chosen):
            chosen.append(verdict)
        if len(chosen) == COUNT:
            break
    return chosen


def _rank(verdict: Verdict) -> float:
    score = verdict.answer.score
    return score if score == score else -1.0


def _pairs(run: BagRun, bag: Bag, kind: str, chosen: list[Verdict]) -> list[Pair]:
    others = [_other(v, kind) for v in chosen]
    times = [run.answers[i].recorded_ns for i in (*(v.index for v in chosen), *others)]
    shown = pictures(bag, run.topics.image, set(times))
    return [
        Pair(
            "wrong" if kind == "stopped" else kind,
            v.index,
            other,
            _words(run, v, other, kind),
            (shown[v.answer.recorded_ns], shown[run.answers[other].recorded_ns]),
        )
        for v, other in zip(chosen, others, strict=True)
    ]


def _other(verdict: Verdict, kind: str) -> int:
    other = {"missed": verdict.true, "stopped": verdict.answer.best}.get(
        kind, verdict.answer.match
    )
    assert other is not None
    return other


def _words(run: BagRun, verdict: Verdict, other: int, kind: str) -> str:
    apart, answer = run.truth.words(verdict.index, other), verdict.answer
    if kind in ("missed", "stopped"):
        return f"{apart}; {answer.message}"
    inliers = "" if answer.inliers is None else f", {answer.inliers} inliers"
    return f"{apart}; score {answer.score:.3f}{inliers}"
