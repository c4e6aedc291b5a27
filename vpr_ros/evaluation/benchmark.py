# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr benchmark`: methods on one data set, tables, a results folder."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vpr_ros.core.model_files import DEFAULT_MODEL
from vpr_ros.evaluation.console import TextTable, say
from vpr_ros.evaluation.image_changes import AS_TAKEN, CHANGES, Change
from vpr_ros.evaluation.image_set import DatasetOptions, ImageSet
from vpr_ros.evaluation.layouts import open_dataset
from vpr_ros.evaluation.methods import open_methods
from vpr_ros.evaluation.metrics import rounded_percent
from vpr_ros.evaluation.retrieval import Result, check_sequence, measure_all
from vpr_ros.evaluation.run_folder import RESULTS, latest, own_command, run_folder, write_json
from vpr_ros.evaluation.search import RANKS

SPARSITIES = (0.0, 0.4, 0.6)
FULL_PRECISION = (
    "R@100P: recall at 100 % precision, the share of the answerable queries that score above "
    "every wrong first match."
)


def run_benchmark(
    path: Path,
    models: Sequence[str] = (DEFAULT_MODEL,),
    sparsities: Sequence[float] = SPARSITIES,
    *,
    baselines: bool = True,
    sequence: int = 0,
    robustness: bool = False,
    options: DatasetOptions | None = None,
    threads: int = 1,
    results: Path = RESULTS,
) -> list[Result]:
    """Measure, print and write `results`/<time>/{metrics.json,tables.md}.

    `models` are names or paths; `sequence` > 0 adds SeqSLAM over that many frames to each,
    `robustness` the recalls of changed queries.
    Raises VprError, with nothing left on the disk, if the data set or a model cannot be used.
    """
    console = Console()
    image_set = open_dataset(path, options)
    check_sequence(image_set, sequence)  # before the models are loaded
    opened, simple = open_methods(models, threads, baselines)
    changes = CHANGES if robustness else ()
    with run_folder(results) as folder:
        rows = measure_all(image_set, [*opened, *simple], sparsities, console, sequence, changes)
        tables = [recall_table(image_set, rows), *cross_tables(image_set, rows)]
        if robustness:
            tables.append(robustness_table(image_set, rows, changes))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of Linux's KiB
        metrics = {
            "command": own_command(),
            "dataset": image_set.name,
            "right": image_set.rule,
            "database": len(image_set.database),
            "queries": len(image_set.queries),
            "unanswerable": image_set.unanswerable,  # they count as missed
            "threads": threads,
            "peak_memory_mb": round(peak_mb),
            "changes": {change.name: change.words for change in changes},
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        write_json(folder / "metrics.json", metrics)
        (folder / "tables.md").write_text("\n".join(table.markdown() for table in tables))
    for table in tables:
        table.print(console)
    say(console, f"Peak memory {peak_mb:.0f} MB. Written to {latest(results)}")
    return rows


def recall_table(image_set: ImageSet, rows: Sequence[Result]) -> TextTable:
    """All methods with map and query at the same sparsity; more than one frame: SeqSLAM."""
    headings = (
        "method", "frames", "sparsity", *(f"R@{rank}\n%" for rank in RANKS), "R@100P\n%",
        "encode, ms\np50 / p95", "search, ms\np50 / p95", "place\nbytes",
    )  # fmt: skip
    cells = tuple(
        (
            row.method,
            str(max(row.sequence, 1)),
            f"{row.map_sparsity:g}",
            *(rounded_percent(row.recall[rank]) for rank in RANKS),
            rounded_percent(row.recall_at_full_precision),
            f"{row.encode_p50_ms:.1f} / {row.encode_p95_ms:.1f}",
            f"{row.search_p50_ms:.2f} / {row.search_p95_ms:.2f}" if not row.sequence else "-",
            str(row.descriptor_bytes),
        )
        for row in rows
        if row.map_sparsity == row.query_sparsity and row.change == AS_TAKEN.name
    )
    notes = [image_set_note(image_set), FULL_PRECISION]
    if image_set.unanswerable:
        notes.append(
            f"{image_set.unanswerable} queries have no right image and count as missed, as in "
            "VPR-methods-evaluation."
        )
    return TextTable(image_set.name, headings, cells, tuple(notes))


def image_set_note(image_set: ImageSet) -> str:
    """How large a set is and what counts as right."""
    return (
        f"{len(image_set.queries)} queries, {len(image_set.database)} database images; "
        f"right: {image_set.rule}."
    )


def cross_tables(image_set: ImageSet, rows: Sequence[Result]) -> list[TextTable]:
    """R@1 with the map at one sparsity and the query at another, per method that has several."""
    tables = []
    for method, sequence in dict.fromkeys((row.method, row.sequence) for row in rows):
        recall = {
            (row.map_sparsity, row.query_sparsity): row.recall[1]
            for row in rows
            if (row.method, row.sequence, row.change) == (method, sequence, AS_TAKEN.name)
        }
        steps = sorted({map_sparsity for map_sparsity, _ in recall})
        if len(steps) < 2:
            continue
        name = f"{method}, {sequence} frames" if sequence else method
        headings = ("map at", *(f"query at\n{s:g}" for s in steps))
        cells = tuple((f"{m:g}", *(rounded_percent(recall[m, q]) for q in steps)) for m in steps)
        title = f"{image_set.name}, {name}: R@1, %, by sparsity of map and query"
        tables.append(TextTable(title, headings, cells))
    return tables


def robustness_table(
    image_set: ImageSet, rows: Sequence[Result], changes: Sequence[Change]
) -> TextTable:
    """What is left when the query images are changed; map and query at the same sparsity."""
    names = [change.name for change in (AS_TAKEN, *changes)]
    headings = ("method", "sparsity", *(f"{name}\nR@1 / R@100P" for name in names))
    found = {
        (row.method, row.map_sparsity, row.change): f"{rounded_percent(row.recall[1])} / "
        f"{rounded_percent(row.recall_at_full_precision)}"
        for row in rows
        if row.map_sparsity == row.query_sparsity and not row.sequence
    }
    cells = tuple(
        (method, f"{sparsity:g}", *(found[method, sparsity, name] for name in names))
        for method, sparsity in dict.fromkeys(key[:2] for key in found)
    )
    meanings = "; ".join(f"{change.name}: {change.words}" for change in changes)
    notes = (f"The queries are changed, the map is not. {meanings}.", FULL_PRECISION)
    return TextTable(f"{image_set.name}: R@1 / R@100P, %, by change", headings, cells, notes)
