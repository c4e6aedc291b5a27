# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `vpr benchmark`: what was closed, pairs, and all tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from vpr_ros.core.image_files import read_image
from vpr_ros.evaluation.console import TextTable
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.figures import COLOUR, drawing, grid
from vpr_ros.evaluation.gallery import COUNT, card, cards
from vpr_ros.evaluation.image_set import ImageSet
from vpr_ros.evaluation.metrics import machine, percent
from vpr_ros.evaluation.report import Section, write_page
from vpr_ros.evaluation.set_decisions import MOST_IMAGES, Decision, Decisions

KINDS = (
    (Outcome.RIGHT, "right", "Best right closures"),
    (Outcome.WRONG, "wrong", "Worst wrong closures"),
    (Outcome.MISSED, "missed", "Missed, and what should have been found"),
)
SET_TERMS = {
    "All gates": "the loop detector with its default parameters, as on the robot but without "
    "odometry: local features, the order of drives, rivals.",
    "R@k": "of all queries, the share with a right image among the k most similar ones.",
    "R@100P": "of the answerable queries, the share that score above every wrong first match.",
}


def set_headline(name: str, decisions: Decisions | None) -> str:
    """The result in one sentence."""
    if decisions is None:
        return f"{name}: recall of all methods."
    wrong, right = len(decisions.of(Outcome.WRONG)), len(decisions.of(Outcome.RIGHT))
    told = f"{wrong} wrong" if wrong else "none wrong"
    return f"{right} of {decisions.answerable} answerable queries closed, {told}."


def write_set_page(
    path: Path,
    image_set: ImageSet,
    tables: Sequence[TextTable],
    decisions: Decisions | None,
    command: str,
) -> None:
    """Write it; `tables` as printed, the one of all methods first."""
    sections = []
    tiles = [
        (str(len(image_set.queries)), "queries"),
        (str(len(image_set.database)), "map images"),
    ]
    if decisions is None:
        size = f" Sets of more than {MOST_IMAGES} images are measured by similarity alone."
    else:
        size = f" Closures are those of {decisions.model} at sparsity 0."
        right, wrong = (str(len(decisions.of(o))) for o in (Outcome.RIGHT, Outcome.WRONG))
        closed = percent(decisions.closed) if decisions.answerable else "-"
        tiles = [(closed, "closed"), (right, "right"), (wrong, "wrong"), *tiles]
        figure = drawing(
            "Queries and matches", _draw_matches, decisions, size=(11, 4.2), narrow=(4.6, 4.2)
        )
        text = (
            "Every dot is a query and the map image that it was matched with, in the order of the "
            "files; amber: the image that should have been found."
        )
        pairs = "".join(_pairs(image_set, decisions, *kind) for kind in KINDS)
        text_pairs = "On the left the query, on the right the map's image."
        sections += [Section("Matches", text, figure), Section("Pairs", text_pairs, pairs)]
    headings = ["All methods", *(table.title for table in tables[1:])]
    sections += [Section(h, "", table.html()) for h, table in zip(headings, tables, strict=True)]
    write_page(
        path,
        title=image_set.name,
        headline=set_headline(image_set.name, decisions),
        intro=f"Right: {image_set.rule}.{size}",
        tiles=tiles,
        sections=sections,
        terms=SET_TERMS,
        command=command,
        machine=machine(),
        closing="Beside this page are metrics.json with the numbers and tables.md.",
    )


def _draw_matches(figure: Figure, decisions: Decisions) -> None:
    axes = figure.subplots()
    for outcome in (Outcome.MISSED, Outcome.RIGHT, Outcome.WRONG):
        chosen = decisions.of(outcome)
        other = [(d.true if outcome is Outcome.MISSED else d.match) or 0 for d in chosen]
        label = f"{outcome.value} ({len(chosen)})"
        axes.plot([d.query for d in chosen], other, ".", color=COLOUR[outcome], label=label)
    axes.set(xlabel="query", ylabel="image of the map")
    figure.legend(loc="outside upper center", ncols=3)
    grid(axes)


def _pairs(
    image_set: ImageSet, decisions: Decisions, outcome: Outcome, css: str, title: str
) -> str:
    found = decisions.of(outcome)
    shown = [_card(image_set, decision, css) for decision in found[:COUNT]]
    return cards(title, shown, len(found))


def _card(image_set: ImageSet, decision: Decision, css: str) -> str:
    missed = decision.outcome is Outcome.MISSED
    other = decision.true if missed else decision.match
    assert other is not None
    files = (image_set.queries[decision.query], image_set.database[other])
    names = (f"query {decision.query}", f"image {other}")
    views = [
        (read_image(file), f"{name}, {file.name}") for file, name in zip(files, names, strict=True)
    ]
    told = "" if math.isnan(decision.score) else f"score {decision.score:.3f}; "
    return card(css, views, decision.message if not missed else f"{told}{decision.message}")
