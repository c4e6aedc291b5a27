# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parts that all reports share: style, tiles and tables of a page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from vpr_ros.evaluation.metrics import Metrics, words

MEANINGS = {
    "ACCEPTED": "a loop closure",
    "NO_OLDER_PLACES": "nothing in the database is old enough to be a loop",
    "LOW_SCORE": "the best match is below the score threshold",
    "AMBIGUOUS": "another place matches nearly as well",
    "INCONSISTENT": "the last keyframes did not match the same place",
    "GEOMETRY": "too few correspondences agree on one camera motion",
}


def style_html() -> str:
    """The style sheet, in light and dark."""
    return files("vpr_ros.evaluation").joinpath("page_style.html").read_text()


def tiles_html(tiles: Iterable[tuple[str, str]]) -> str:
    """(number, what it is), large."""
    return "".join(
        f"<div><b>{escape(number)}</b><span>{escape(what)}</span></div>" for number, what in tiles
    )


def rows_html(rows: Iterable[tuple[str, str]]) -> str:
    """(what, value with unit) as lines of a table."""
    return "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)


def reasons_html(m: Metrics) -> str:
    """How often each reason was given, and what it means."""
    return "".join(
        f"<tr><th>{words(reason)}</th><td class='n'>{count}</td><td>{MEANINGS[reason]}</td></tr>"
        for reason, count in m["reasons"].items()
    )
