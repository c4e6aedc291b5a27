# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of a retrieval evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from vpr_ros.evaluation.datasets.image_set import ImageSet
from vpr_ros.evaluation.ranking import RANKS
from vpr_ros.evaluation.retrieval import Row
from vpr_ros.evaluation.tables import TextTable


def recall_table(image_set: ImageSet, rows: Sequence[Row]) -> TextTable:
    """All methods with map and query at one sparsity; more than one frame: SeqSLAM."""
    headings = (
        "method",
        "frames",
        "sparsity",
        *(f"R@{rank}\n%" for rank in RANKS),
        "encode\nms",
        "place\nbytes",
    )
    cells = tuple(
        (
            row.method,
            str(max(row.sequence, 1)),
            f"{row.map_sparsity:g}",
            *(f"{row.recall[rank]:.1f}" for rank in RANKS),
            f"{row.encode_ms:.1f}",
            str(row.descriptor_bytes),
        )
        for row in rows
        if row.map_sparsity == row.query_sparsity
    )
    return TextTable(image_set.name, headings, cells, _notes(image_set))


def cross_tables(image_set: ImageSet, rows: Sequence[Row]) -> list[TextTable]:
    """For each method with a dial: R@1 with the map at one sparsity and the query at another."""
    tables = []
    for name in dict.fromkeys(_label(row) for row in rows):
        own = [row for row in rows if _label(row) == name]
        steps = sorted({row.map_sparsity for row in own})
        if len(steps) < 2:
            continue
        recall = {(row.map_sparsity, row.query_sparsity): row.recall[1] for row in own}
        headings = ("map at", *(f"query at\n{s:g}" for s in steps))
        cells = tuple((f"{m:g}", *(f"{recall[m, q]:.1f}" for q in steps)) for m in steps)
        title = f"{image_set.name}, {name}: R@1, %, by sparsity of map and query"
        tables.append(TextTable(title, headings, cells))
    return tables


def _label(row: Row) -> str:
    return f"{row.method}, {row.sequence} frames" if row.sequence else row.method


def _notes(image_set: ImageSet) -> tuple[str, ...]:
    notes = [
        f"{len(image_set.queries)} queries, {len(image_set.database)} database images; "
        f"right: {image_set.rule}."
    ]
    if image_set.unanswerable:
        notes.append(
            f"{image_set.unanswerable} queries have no right image and count as missed, as in "
            "VPR-methods-evaluation."
        )
    return tuple(notes)
