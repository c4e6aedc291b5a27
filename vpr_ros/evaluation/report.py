# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report: one self-contained HTML page, put together from sections."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.console import TextTable
from vpr_ros.evaluation.evaluated_drive import Drive
from vpr_ros.evaluation.figures import (
    draw_curve,
    draw_matches,
    draw_route,
    draw_scores,
    draw_similarity,
    draw_timeline,
    drawing,
)
from vpr_ros.evaluation.gallery import gallery
from vpr_ros.evaluation.metrics import Metrics, reason_text

REASONS = {
    "ACCEPTED": "a loop closure",
    "NO_OLDER_PLACES": "nothing in the database is old enough to be a loop",
    "LOW_SCORE": "the best match is below the score threshold",
    "AMBIGUOUS": "another place matches nearly as well",
    "INCONSISTENT": "the odometry speaks against the best match",
    "GEOMETRY": "the local features do not agree clearly enough on one camera motion",
}
TERMS = {
    "Precision": "right closures among the judged ones.",
    "Recall": "of the keyframes that have a true older place, the share with a right closure.",
    "Recall at 100 % precision": "for the bare score of every best match, the recall at the "
    "lowest threshold that lets nothing wrong through; equal scores are accepted together.",
    "Average precision": "the sum over the thresholds of the recall gained times the precision "
    "there.",
    "R@k": "of the revisits, the share with a right place among the k most similar older "
    "keyframes, by an exhaustive search over all keyframes, before any gate.",
    "Encode": "preprocessing and network, per keyframe.",
    "Search and decision": "from the descriptor to the answer, with the database update.",
}


HALF = (5.5, 3.9)  # inch, of a figure beside another one


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page: heading and text in words, the rest in HTML."""

    heading: str
    text: str
    html: str
    half: bool = False  # half the width, beside the next one of this kind


def write_page(
    path: Path,
    *,
    title: str,
    headline: str,
    intro: str,
    tiles: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    terms: dict[str, str],
    command: str,
    machine: str,
    closing: str = "",
) -> None:
    """Write a page to `path`; everything but the sections' `html` is plain text.

    `headline`: the result in one sentence; `tiles`: (number, what it is), shown large; `terms`:
    what the words mean.
    """
    page = Template(files("vpr_ros.evaluation").joinpath("page.html").read_text())
    text = page.substitute(
        title=escape(title),
        headline=escape(headline),
        intro=escape(intro),
        tiles="".join(f"<div><b>{escape(a)}</b><span>{escape(b)}</span></div>" for a, b in tiles),
        sections=_sections_html(sections),
        terms="\n".join(f"<li><b>{escape(a)}:</b> {escape(b)}</li>" for a, b in terms.items()),
        command=escape(command),
        closing=escape(closing),
        machine=escape(machine),
    )
    path.write_text(text, encoding="utf-8", errors="replace")  # names of files need not be UTF-8


def _sections_html(sections: Sequence[Section]) -> str:
    parts, beside = [], False
    for section in sections:
        if section.half != beside:
            parts.append("<div class='two'>" if section.half else "</div>")
            beside = section.half
        text = f"<p>{escape(section.text)}</p>" if section.text else ""
        body = f"<h2>{escape(section.heading)}</h2>\n{text}\n{section.html}\n"
        parts.append(f"<div>\n{body}</div>" if section.half else body)
    return "\n".join([*parts, "</div>" if beside else ""])


def drive_sections(
    drive: Drive,
    bag: Bag,
    topic: str,
    metrics: Metrics,
    rows: Sequence[tuple[str, str]],
    threshold: float,
    timeline: Section | None = None,
    methods: TextTable | None = None,
) -> list[Section]:
    """The page of a drive; `bag` is open, and has its images on `topic`.

    `rows`: (what, value with unit) of the one table; `threshold`: lowest score considered, NaN:
    none; `timeline` replaces the usual one; `methods`: the table with the baselines.
    """
    sections = [
        route_section(drive),
        pairs_section(drive, bag, topic),
        timeline or timeline_section(drive),
        numbers_section(rows),
    ]
    if methods is not None:
        sections.append(Section("Against the baselines", "", methods.html()))
    sections += [reasons_section(metrics), similarity_section(drive)]
    if drive.revisits:
        sections += [curve_section(drive), scores_section(drive, threshold)]
    return sections


def numbers_section(rows: Sequence[tuple[str, str]]) -> Section:
    """(what, value with unit) rows."""
    lines = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
    return Section("All numbers", "", f"<table>{lines}</table>")


def reasons_section(m: Metrics) -> Section:
    """How often each reason was given, and what it means."""
    lines = "".join(
        f"<tr><th>{reason_text(reason)}</th><td class='n'>{count}</td>"
        f"<td>{REASONS[reason]}</td></tr>"
        for reason, count in m["reasons"].items()
    )
    return Section("Every answer has a reason", "", f"<table>{lines}</table>")


def route_section(drive: Drive) -> Section:
    """The route with all closures, or without poses which keyframe was matched with which."""
    title = "Route and closures"
    trajectory = drive.truth.trajectory
    if trajectory is None:
        missed = "" if drive.truth.missing else ", or (amber) should have been"
        text = (
            f"Every dot is a keyframe and the older one it was matched with{missed}. The "
            "diagonal is now: the farther below it, the older the match."
        )
        html = drawing(title, draw_matches, drive, size=(11, 4.2), narrow=(4.6, 4.2))
    else:
        text = (
            "Every line joins a keyframe with the older one it was matched with. Amber dots are "
            "revisits without a closure, blue lines closures that the truth does not know."
        )
        html = drawing(
            title, draw_route, drive, trajectory.positions, size=(11, 4.8), narrow=(4.6, 8.4)
        )
    return Section("Route", text, html)


def pairs_section(drive: Drive, bag: Bag, topic: str) -> Section:
    """Pairs of images from the topic of an open bag."""
    text = "On the left the query, on the right the older image that it was compared with."
    return Section("Pairs", text, gallery(drive, bag, topic))


def timeline_section(drive: Drive) -> Section:
    """Scores and outcomes over time."""
    text = "Above, the score of the best older match of every keyframe; below, what became of it."
    html = drawing("Timeline", draw_timeline, drive, size=(11, 4.2), narrow=(4.6, 5.0))
    return Section("Timeline", text, html)


def similarity_section(drive: Drive) -> Section:
    """The similarity matrix beside the truth."""
    text = (
        "First the cosine of all pairs of keyframes, then where the robot truly was in the same "
        "place. Bright lines without a counterpart in the truth are places that look alike."
    )
    if drive.truth.missing:
        text = "The cosine of all pairs of keyframes. Bright lines are places that look alike."
    title, narrow = "Similarity of all keyframes", (4.6, 4.4 if drive.truth.missing else 8.4)
    html = drawing(title, draw_similarity, drive, size=(11, 5.2), narrow=narrow)
    return Section("Similarity", text, html)


def curve_section(drive: Drive) -> Section:
    """Precision over recall."""
    text = (
        "Precision over recall when only the score of the best older match decides, while its "
        "threshold falls. The dot is what the loop detector closes."
    )
    html = drawing("Precision over recall", draw_curve, drive, size=HALF)
    return Section("Score alone", text, html, half=True)


def scores_section(drive: Drive, threshold: float) -> Section:
    """Scores of right and wrong matches; `threshold`: lowest considered, NaN: none."""
    text = (
        "The less the two overlap, the better the score alone can separate them. The detector "
        "does not rely on it: geometry, odometry and rivals decide."
    )
    title = "Scores of right and wrong best matches"
    html = drawing(title, draw_scores, drive, threshold, size=HALF)
    return Section("Right and wrong scores", text, html, half=True)
