# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs of images for the report: the surest of each kind, and the missed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from vpr_ros.core.images import Image
from vpr_ros.evaluation.bag import Bag, pictures
from vpr_ros.evaluation.evaluated_drive import Drive, Outcome, Verdict

COUNT = 6  # of a kind
APART = 5  # keyframes between two queries shown: neighbours would show one place six times
WIDTH, QUALITY = 320, 80  # px, as shown


def gallery(drive: Drive, bag: Bag, topic: str) -> str:
    """HTML of the best pairs of each kind; their images are read from `topic` of the open bag."""
    stopped = [
        v for v in drive.verdicts
        if v.answer.match is None and v.answer.best is not None and not v.best_right
        and (v.outcome is not Outcome.UNKNOWN or drive.truth.missing)
    ]  # fmt: skip
    unjudged = [v for v in drive.of(Outcome.UNKNOWN) if v.answer.match is not None]
    kinds = (
        ("Best right closures", "right", drive.of(Outcome.RIGHT)),
        ("Worst wrong closures", "wrong", drive.of(Outcome.WRONG)),
        ("Closures that were not judged", "found", unjudged),
        ("Missed, and what should have been found", "missed", drive.of(Outcome.MISSED)),
        (f"Highest {'' if drive.truth.missing else 'wrong '}scores, rejected", "stopped", stopped),
    )
    parts = []
    for title, kind, found in kinds:
        chosen = _spread(found)
        others = [_other(verdict, kind) for verdict in chosen]
        indices = (*(v.index for v in chosen), *others)
        images = pictures(bag, topic, {drive.answers[i].recorded_ns for i in indices})
        shown = [
            _card(drive, v, other, kind, images) for v, other in zip(chosen, others, strict=True)
        ]
        parts.append(cards(title, shown, len(found)))
    return "".join(parts)


def _spread(found: list[Verdict]) -> list[Verdict]:
    """The highest scores: first no two of one place, then neighbours, too."""
    chosen: list[Verdict] = []
    scores = np.nan_to_num([-v.answer.score for v in found], nan=1.0)
    ranked = [found[i] for i in np.argsort(scores, kind="stable")]
    for apart in (APART, 0):
        for verdict in ranked:
            near = any(abs(verdict.index - other.index) <= apart for other in chosen)
            if not near and len(chosen) < COUNT:
                chosen.append(verdict)
    return chosen


def _other(verdict: Verdict, kind: str) -> int:
    answer = verdict.answer
    other = {"missed": verdict.true, "stopped": answer.best}.get(kind, answer.match)
    assert other is not None
    return other


def _card(drive: Drive, verdict: Verdict, other: int, kind: str, images: dict[int, Image]) -> str:
    answer, text = verdict.answer, drive.truth.describe(verdict.index, other)
    if kind in ("missed", "stopped"):
        told = answer.message
    else:
        inliers = "" if answer.inliers is None else f", {answer.inliers} inliers"
        told = f"score {answer.score:.3f}{inliers}"
    views = [
        (images[drive.answers[i].recorded_ns], f"keyframe {i}, {drive.seconds(i):.1f} s")
        for i in (verdict.index, other)
    ]
    css = ("found" if drive.truth.missing else "wrong") if kind == "stopped" else kind
    return card(css, views, "; ".join(filter(None, (text, told))))


def cards(title: str, shown: Sequence[str], total: int) -> str:
    """HTML of some of `total` cards below a heading; nothing of none."""
    if not shown:
        return ""
    count = f"{len(shown)} of" if total > len(shown) else "all"
    heading = f"<h3>{title} <small>{count} {total}</small></h3>"
    return f"{heading}<div class='pairs'>{''.join(shown)}</div>"


def card(css: str, views: Sequence[tuple[Image, str]], text: str) -> str:
    """HTML of two BGR images with a caption each and a text below; `css`: the kind of pair."""
    shown = "".join(
        f"<div><img src='{data_uri(image)}' alt='{escape(caption)}'>"
        f"<span>{escape(caption)}</span></div>"
        for image, caption in views
    )
    return f"<figure class='{css}'>{shown}<figcaption>{escape(text)}</figcaption></figure>"


def data_uri(image: Image) -> str:
    """A BGR image for an HTML page."""
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
