# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a bag's evaluation: one self-contained HTML page."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import matplotlib
from matplotlib.figure import Figure

from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.figures.curve import draw_curve
from vpr_ros.evaluation.figures.gallery import Group, Pair, choose_groups, data_uri
from vpr_ros.evaluation.figures.look import STYLE, svg
from vpr_ros.evaluation.figures.route import draw_matches, draw_route
from vpr_ros.evaluation.figures.scores import draw_scores
from vpr_ros.evaluation.figures.similarity import draw_similarity
from vpr_ros.evaluation.metrics import Metrics, ms, percent, table
from vpr_ros.evaluation.page import reasons_html, rows_html, style_html, tiles_html
from vpr_ros.evaluation.tables import TextTable

ROUTE = (
    "Every line joins a keyframe with the older one it was matched with. Amber dots are revisits "
    "without a closure."
)
MATCHES = (
    "Every dot is a keyframe and the older one it was matched with, or (amber) should have been. "
    "The diagonal is now: the farther below it, the older the match."
)
METHODS = "<h2>Against the baselines</h2>"


def write_report(
    path: Path, run: BagRun, bag: Bag, metrics: Metrics, methods: TextTable | None, command: str
) -> None:
    """Write the page; `bag` is open, for its pictures, `methods` the table with the baselines."""
    page = Template(files("vpr_ros.evaluation").joinpath("page.html").read_text())
    request = run.request
    with matplotlib.rc_context(STYLE):
        text = page.substitute(
            style=style_html(),
            name=escape(request.bag.name),
            headline=_headline(metrics),
            route=_route(run),
            route_text=ROUTE if run.truth.trajectory is not None else MATCHES,
            similarity=_similarity(run),
            curve=_curve(run),
            scores=_scores(run),
            gallery="".join(_group(run, group) for group in choose_groups(run, bag)),
            rows=rows_html(table(metrics)),
            methods="" if methods is None else METHODS + methods.html(),
            reasons=reasons_html(metrics),
            revisits=metrics["revisits"],
            rule=escape(_rule(run)),
            exclusion=f"{run.settings.database.exclude_recent_s:g}",
            exclusion_keyframes=run.settings.database.exclude_recent_keyframes,
            images=escape(run.topics.image),
            odometry=escape(run.topics.odometry or "none"),
            truth=escape(run.truth_text),
            model=escape(metrics["model"]),
            sparsity=f"{metrics['sparsity']:g}",
            machine=escape(metrics["machine"]),
            command=escape(command),
        )
    path.write_text(text)


def _headline(m: Metrics) -> str:
    tiles = (
        (percent(m["precision"]), "precision of the closures"),
        (percent(m["recall"]), "recall of the revisits"),
        (str(m["closures"]), "loop closures"),
        (percent(m["recall_at_1"]), "R@1, search alone"),
        (ms(m["encode_p50_ms"]), "to encode, p50"),
    )
    return tiles_html(tiles)


def _rule(run: BagRun) -> str:
    rule = run.request.rule
    if run.truth.unit == "m":
        return f"positions within {rule.metres:g} m, headings within {rule.degrees:g} degrees"
    return f"the match lies within {rule.frames} images of one listed for the query"


def _route(run: BagRun) -> str:
    if run.truth.trajectory is None:
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        draw_matches(figure.add_subplot(), run)
    else:
        figure = Figure(figsize=(11, 4.8), layout="constrained")
        draw_route(list(figure.subplots(1, 2)), run)
    return svg(figure, "Route with right, wrong and missed closures")


def _similarity(run: BagRun) -> str:
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    draw_similarity(list(figure.subplots(1, 2)), run)
    return svg(figure, "Similarity of all keyframes, and the truth")


def _curve(run: BagRun) -> str:
    figure = Figure(figsize=(5.5, 3.9), layout="constrained")
    draw_curve(figure.add_subplot(), run.judgement)
    return svg(figure, "Precision over recall")


def _scores(run: BagRun) -> str:
    figure = Figure(figsize=(5.5, 3.9), layout="constrained")
    draw_scores(figure.add_subplot(), run.judgement, run.score_threshold)
    return svg(figure, "Scores of right and wrong best matches")


def _group(run: BagRun, group: Group) -> str:
    shown = (
        f"{len(group.pairs)} of {group.total}"
        if group.total > len(group.pairs)
        else f"all {group.total}"
    )
    cards = "".join(_card(run, pair) for pair in group.pairs)
    return f"<h3>{group.title} <small>{shown}</small></h3><div class='pairs'>{cards}</div>"


def _card(run: BagRun, pair: Pair) -> str:
    images = "".join(
        f"<div><img src='{data_uri(image)}' alt='keyframe {index}'>"
        f"<span>keyframe {index}, {run.seconds(index):.1f} s</span></div>"
        for image, index in zip(pair.images, (pair.query, pair.other), strict=True)
    )
    caption = f"<figcaption>{escape(pair.text)}</figcaption>"
    return f"<figure class='{pair.kind}'>{images}{caption}</figure>"
