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

from demo.figures.curve import draw_curve
from demo.figures.gallery import OTHER_PAIRS, RIGHT_PAIRS, Pair, choose, data_uri
from demo.figures.look import set_up, svg
from demo.figures.picture import write_picture
from demo.figures.route import draw_route
from demo.figures.timeline import draw_timeline
from demo.metrics import Metrics, measure, ms, percent, table, words
from demo.results import Results
from demo.score import Outcome
from demo.truth import EXCLUSION_S, HEADING_DEG, RADIUS_M
from vpr_ros.core.errors import VprError

PAGE = Path(__file__).with_name("page.html")
MEANINGS = {
    "ACCEPTED": "a loop closure was published",
    "NO_OLDER_PLACES": "nothing in the database is old enough to be a loop",
    "LOW_SCORE": "the best match is below the score threshold",
    "AMBIGUOUS": "another place matches nearly as well",
    "INCONSISTENT": "the last keyframes did not match the same place",
    "GEOMETRY": "too few correspondences agree on one camera motion",
}


def write_report(results: Results, metrics: Metrics) -> Path:
    """Write report.html and metrics.json into the results' folder; returns the page's path."""
    set_up()
    (results.folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    page = results.folder / "report.html"
    text = Template(PAGE.read_text()).substitute(
        headline=_headline(metrics),
        route=_route(results),
        timeline=_timeline(results),
        curve=_curve(results),
        gallery=_gallery(results),
        rows=_rows(table(metrics)),
        reasons=_reasons(metrics),
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
    return "".join(
        f"<div><b>{escape(number)}</b><span>{escape(what)}</span></div>" for number, what in tiles
    )


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


def _rows(rows: list[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)


def _reasons(m: Metrics) -> str:
    return "".join(
        f"<tr><th>{words(reason)}</th><td class='n'>{count}</td><td>{MEANINGS[reason]}</td></tr>"
        for reason, count in m["reasons"].items()
    )


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
