# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of a retrieval evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from vpr_ros.evaluation.changes import AS_TAKEN, Change
from vpr_ros.evaluation.datasets.image_set import ImageSet
from vpr_ros.evaluation.ranking import RANKS
from vpr_ros.evaluation.retrieval import Row
from vpr_ros.evaluation.tables import TextTable

FULL_PRECISION = (
    "R@100P: recall at 100 % precision, the share of the answerable queries that score above "
    "every wrong first match."
)


def recall_table(image_set: ImageSet, rows: Sequence[Row]) -> TextTable:
    """All methods with map and query at one sparsity; more than one frame: SeqSLAM."""
    headings = (
        "method",
        "frames",
        "sparsity",
        *(f"R@{rank}\n%" for rank in RANKS),
        "R@100P\n%",
        "encode, ms\np50 / p95",
        "search, ms\np50 / p95",
        "place\nbytes",
    )
    cells = tuple(
        (
            row.method,
            str(max(row.sequence, 1)),
            f"{row.map_sparsity:g}",
            *(f"{row.recall[rank]:.1f}" for rank in RANKS),
            _percent(row.recall_at_full_precision),
            f"{row.encode_p50_ms:.1f} / {row.encode_p95_ms:.1f}",
            f"{row.search_p50_ms:.2f} / {row.search_p95_ms:.2f}" if not row.sequence else "-",
            str(row.descriptor_bytes),
        )
        for row in rows
        if row.map_sparsity == row.query_sparsity and row.change == AS_TAKEN.name
    )
    return TextTable(image_set.name, headings, cells, _notes(image_set))


def cross_tables(image_set: ImageSet, rows: Sequence[Row]) -> list[TextTable]:
    """For each method with a dial: R@1 with the map at one sparsity and the query at another."""
    tables = []
    for name in dict.fromkeys(_label(row) for row in rows):
        own = [row for row in rows if _label(row) == name and row.change == AS_TAKEN.name]
        steps = sorted({row.map_sparsity for row in own})
        if len(steps) < 2:
            continue
        recall = {(row.map_sparsity, row.query_sparsity): row.recall[1] for row in own}
        headings = ("map at", *(f"query at\n{s:g}" for s in steps))
        cells = tuple((f"{m:g}", *(f"{recall[m, q]:.1f}" for q in steps)) for m in steps)
        title = f"{image_set.name}, {name}: R@1, %, by sparsity of map and query"
        tables.append(TextTable(title, headings, cells))
    return tables


def robustness_table(
    image_set: ImageSet, rows: Sequence[Row], changes: Sequence[Change]
) -> TextTable:
    """What is left when the query images are changed; map and query at one sparsity."""
    names = [change.name for change in (AS_TAKEN, *changes)]
    headings = ("method", "sparsity", *(f"{name}\nR@1 / R@100P" for name in names))
    found = {
        (row.method, row.map_sparsity, row.change): row
        for row in rows
        if row.map_sparsity == row.query_sparsity and not row.sequence
    }
    cells = tuple(
        (
            method,
            f"{sparsity:g}",
            *(
                f"{row.recall[1]:.1f} / {_percent(row.recall_at_full_precision)}"
                for row in (found[method, sparsity, name] for name in names)
            ),
        )
        for method, sparsity in dict.fromkeys(key[:2] for key in found)
    )
    meanings = "; ".join(f"{change.name}: {change.words}" for change in changes)
    notes = (f"The queries are changed, the map is not. {meanings}.", FULL_PRECISION)
    return TextTable(f"{image_set.name}: R@1 / R@100P, %, by change", headings, cells, notes)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _label(row: Row) -> str:
    return f"{row.method}, {row.sequence} frames" if row.sequence else row.method


def _notes(image_set: ImageSet) -> tuple[str, ...]:
    notes = [
        f"{len(image_set.queries)} queries, {len(image_set.database)} database images; "
        f"right: {image_set.rule}.",
        FULL_PRECISION,
    ]
    if image_set.unanswerable:
        notes.append(
            f"{image_set.unanswerable} queries have no right image and count as missed, as in "
            "VPR-methods-evaluation."
        )
    return tuple(notes)
