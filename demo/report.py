# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a drive's report: `python -m demo.report RESULTS [--picture PNG]`."""

from __future__ import annotations

import argparse
import json
import sys
from html import escape
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from demo.figures.gallery import OTHER_PAIRS, RIGHT_PAIRS, Pair, choose
from demo.figures.look import set_up
from demo.metrics import measure, ms, table
from demo.readme_picture import write_picture
from demo.results import Results
from demo.route_figure import draw_route
from demo.timeline_figure import draw_timeline
from demo.truth import EXCLUSION_S, HEADING_DEG, RADIUS_M
from vpr_ros.core.errors import VprError
from vpr_ros.evaluation.figures.curve import draw_curve
from vpr_ros.evaluation.figures.gallery import data_uri
from vpr_ros.evaluation.figures.look import svg
from vpr_ros.evaluation.metrics import Metrics, percent
from vpr_ros.evaluation.page import reasons_html, rows_html, style_html, tiles_html
from vpr_ros.evaluation.tally import Outcome

PAGE = Path(__file__).with_name("page.html")


def write_report(results: Results, metrics: Metrics) -> Path:
    """Write report.html and metrics.json into the results' folder; returns the page's path."""
    set_up()
    (results.folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    page = results.folder / "report.html"
    text = Template(PAGE.read_text()).substitute(
        style=style_html(),
        headline=_headline(metrics),
        route=_route(results),
        timeline=_timeline(results),
        curve=_curve(results),
        gallery=_gallery(results),
        rows=rows_html(table(metrics)),
        reasons=reasons_html(metrics),
        revisits=metrics["revisits"],
        radius=f"{RADIUS_M:g}",
        heading=f"{HEADING_DEG:g}",
        exclusion=f"{EXCLUSION_S:g}",
        model=escape(metrics["model"]),
        machine=escape(metrics["machine"]),
        command=escape(metrics["command"]),
        name=escape(results.folder.name),
    )
    page.write_text(text)
    return page


def _headline(m: Metrics) -> str:
    tiles = (
        (percent(m["precision"]), "precision"),
        (percent(m["recall"]), "recall"),
        (str(m["closures"]), "loop closures"),
        (ms(m["latency_p50_ms"]), "image to closure, p50"),
        (f"{m['dropped_images']}", f"of {m['images']} frames dropped"),
    )
    return tiles_html(tiles)


def _route(results: Results) -> str:
    figure = Figure(figsize=(11, 4.9), layout="constrained")
    draw_route(figure.add_subplot(), results.truth, results.score)
    return svg(figure, "Route over the floor plan with all loop closures")


def _timeline(results: Results) -> str:
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    draw_timeline(list(figure.subplots(3, 1)), results)
    return svg(figure, "Battery, sparsity, latency and outcomes over time")


def _curve(results: Results) -> str:
    figure = Figure(figsize=(5.5, 3.9), layout="constrained")
    draw_curve(figure.add_subplot(), results.score)
    return svg(figure, "Precision over recall")


def _gallery(results: Results) -> str:
    parts = []
    for outcome, title, count in (
        (Outcome.RIGHT, "Right closures", RIGHT_PAIRS),
        (Outcome.WRONG, "Wrong closures", OTHER_PAIRS),
        (Outcome.MISSED, "Missed: the query and the place it should have found", OTHER_PAIRS),
    ):
        pairs = choose(results, outcome, count)
        total = results.score.count(outcome)
        if not total:
            continue
        cards = "".join(_card(results, pair) for pair in pairs)
        shown = f"{len(pairs)} of {total}" if total > len(pairs) else f"all {total}"
        parts.append(f"<h3>{title} <small>{shown}</small></h3><div class='pairs'>{cards}</div>")
    return "".join(parts)


def _card(results: Results, pair: Pair) -> str:
    images = "".join(
        f"<div><img src='{data_uri(image)}' alt='{escape(view.section)}'>"
        f"<span>{results.seconds(view.stamp_ns):.1f} s, {escape(view.section)}</span></div>"
        for image, view in zip(pair.images, (pair.query, pair.other), strict=True)
    )
    kind = pair.outcome.name.lower()
    return f"<figure class='{kind}'>{images}<figcaption>{escape(pair.text)}</figcaption></figure>"


def main() -> int:
    """Run the command; errors that a user can act on are one line."""
    parser = argparse.ArgumentParser(prog="python -m demo.report", description=__doc__)
    parser.add_argument("results", type=Path, help="folder of a drive, e.g. results/latest")
    parser.add_argument("--picture", type=Path, help="also write the README's picture here")
    arguments = parser.parse_args()
    try:
        results = Results.read(arguments.results.resolve())
        known = arguments.results / "metrics.json"
        command = json.loads(known.read_text())["command"] if known.is_file() else "make demo"
        metrics = measure(results, command)
        print(write_report(results, metrics))
        if arguments.picture:
            write_picture(arguments.picture, results, metrics)
            print(arguments.picture)
    except VprError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
