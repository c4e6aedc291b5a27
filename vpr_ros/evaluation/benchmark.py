# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr benchmark`: methods on one data set, tables, a results folder."""

from __future__ import annotations

import dataclasses
import math
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vpr_ros.core.model_files import DEFAULT_MODEL
from vpr_ros.core.providers import CPU, Provider, unused_gpu
from vpr_ros.evaluation.console import Progress, TextTable, say
from vpr_ros.evaluation.descriptor_store import DescriptorStore
from vpr_ros.evaluation.image_changes import AS_TAKEN, CHANGES, Change
from vpr_ros.evaluation.image_set import DatasetOptions, ImageSet
from vpr_ros.evaluation.layouts import open_dataset
from vpr_ros.evaluation.methods import Model, open_methods
from vpr_ros.evaluation.metrics import rounded_percent
from vpr_ros.evaluation.retrieval import Result, check_sequence, measure_all
from vpr_ros.evaluation.run_folder import RESULTS, latest, own_command, run_folder, write_json
from vpr_ros.evaluation.search import RANKS
from vpr_ros.evaluation.set_decisions import Decisions, decide
from vpr_ros.evaluation.set_report import write_set_page

SPARSITIES = (0.0, 0.4, 0.6)
UNREADABLE_NAMED = 3  # images, below a table
FULL_PRECISION = (
    "R@100P: recall at 100 % precision, the share of the answerable queries that score above "
    "every wrong first match."
)
ALL_GATES = (
    "All gates: the share that the loop detector closes rightly with local features, its default "
    "parameters and no odometry, and how many queries it closes wrongly. R@100P has its threshold "
    "from the right answers, which no robot knows."
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured, on what, and where the results go."""

    path: Path  # of the data set
    models: Sequence[str] = (DEFAULT_MODEL,)  # names or paths
    sparsities: Sequence[float] = SPARSITIES
    baselines: bool = True
    options: DatasetOptions = dataclasses.field(default_factory=DatasetOptions)
    threads: int = 1
    provider: Provider = dataclasses.field(default_factory=Provider)
    cache: Path | None = None  # of descriptors
    batch: int = 1  # images that a network describes at once
    results: Path = RESULTS


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was found."""

    image_set: ImageSet  # without what cannot be read
    models: Sequence[Model]
    rows: Sequence[Result]
    notes: tuple[str, ...]  # about all tables


# The tables, and the numbers for metrics.json; may leave figures in the folder.
Finish = Callable[[Measured, Path], tuple[Sequence[TextTable], dict[str, Any]]]


def run_plan(
    plan: Plan, finish: Finish, sequence: int = 0, changes: Sequence[Change] = ()
) -> Measured:
    """Measure, print and write `plan.results`/<time>/{metrics.json,tables.md}.

    Raises VprError, with nothing left but cached descriptors, if the data set or a model cannot
    be used.
    """
    console, store = Console(), DescriptorStore(plan.cache, plan.batch)
    image_set = open_dataset(plan.path, plan.options)
    check_sequence(image_set, sequence)  # before the models are loaded
    models, simple = open_methods(plan.models, plan.threads, plan.baselines, plan.provider)
    if gpu := unused_gpu(plan.provider):
        say(console, f"This machine's onnxruntime has {gpu}; --provider {gpu} uses it.")
    with run_folder(plan.results) as folder:
        rows = measure_all(
            image_set, [*models, *simple], plan.sparsities, store, console, sequence, changes
        )
        image_set = image_set.without(store.unreadable)
        notes = (image_set_note(image_set), *_remarks(store, models))
        measured = Measured(image_set, models, rows, notes)
        tables, numbers = finish(measured, folder)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of Linux's KiB
        metrics = {
            "command": own_command(),
            "dataset": image_set.name,
            "right": image_set.rule,
            "database": len(image_set.database),
            "queries": image_set.counted,
            "unanswerable": image_set.unanswerable,  # they count as missed
            "unreadable": {str(path): why for path, why in store.unreadable.items()},
            "threads": plan.threads,
            "providers": {model.name: model.encoder.provider for model in models},
            "peak_memory_mb": round(peak_mb),
            **numbers,
        }
        write_json(folder / "metrics.json", metrics)
        text = "\n".join(table.markdown() for table in tables)
        (folder / "tables.md").write_text(text, encoding="utf-8", errors="replace")
    for table in tables:
        table.print(console)
    say(console, f"Peak memory {peak_mb:.0f} MB. Written to {latest(plan.results)}")
    return measured


def _remarks(store: DescriptorStore, models: Sequence[Model]) -> list[str]:
    """What was left out, and what ran elsewhere than on the CPU."""
    found = []
    if store.unreadable:
        named = [*store.unreadable.values()][:UNREADABLE_NAMED]
        more = len(store.unreadable) - len(named)
        others = f" And {more} more, in metrics.json." if more else ""
        found.append(
            f"Left out, since unreadable: {len(store.unreadable)}. {' '.join(named)}{others}"
        )
    found += [
        f"{model.name} runs on {model.encoder.provider}."
        for model in models
        if not model.encoder.provider.startswith(CPU)
    ]
    return found


def run_benchmark(plan: Plan, sequence: int = 0, robustness: bool = False) -> Sequence[Result]:
    """R@k of all methods, and a page; `sequence` > 0 adds SeqSLAM over that many frames to each,
    `robustness` the recalls of changed queries. Raises VprError as `run_plan` does.
    """
    changes = CHANGES if robustness else ()
    console = Console()

    def finish(measured: Measured, folder: Path) -> tuple[list[TextTable], dict[str, Any]]:
        image_set, rows = measured.image_set, measured.rows
        decided = []
        with Progress(console) as progress:
            for model in measured.models[: len(plan.models)]:
                progress.begin(f"{image_set.name}, {model.name}, all gates", image_set.size)
                decided.append(decide(image_set, model.encoder, progress.step))
        decisions = [found for found in decided if found is not None]
        table = recall_table(image_set, rows, measured.notes, decisions)
        tables = [table, *cross_tables(image_set, rows)]
        if robustness:
            tables.append(robustness_table(image_set, rows, changes))
        first = decisions[0] if decisions else None
        write_set_page(folder / "report.html", image_set, tables, first, own_command())
        return tables, {
            "all_gates": {found.model: found.numbers() for found in decisions},
            "changes": {change.name: change.words for change in changes},
            "rows": [dataclasses.asdict(row) for row in rows],
        }

    rows = run_plan(plan, finish, sequence, changes).rows
    say(console, f"Report: {latest(plan.results) / 'report.html'}")
    return rows


def recall_table(
    image_set: ImageSet,
    rows: Sequence[Result],
    notes: Sequence[str] = (),
    decisions: Sequence[Decisions] = (),
) -> TextTable:
    """All methods with map and query at the same sparsity; more than one frame: SeqSLAM.

    The first rows are what the loop detector closes.
    """
    headings = (
        "method", "frames", "sparsity", *(f"R@{rank}\n%" for rank in RANKS), "R@100P\n%",
        "encode, ms\np50 / p95", "search, ms\np50 / p95", "place\nbytes",
    )  # fmt: skip
    decided = [
        (f"{found.model}, all gates", "-", "0", *["-"] * len(RANKS), found.text(), "-", "-", "-")
        for found in decisions
    ]
    cells = tuple(
        (
            row.method,
            str(max(row.sequence, 1)),
            f"{row.map_sparsity:g}",
            *(rounded_percent(row.recall[rank]) for rank in RANKS),
            rounded_percent(row.recall_at_full_precision),
            _times(row.encode_p50_ms, row.encode_p95_ms, ".1f"),
            _times(row.search_p50_ms, row.search_p95_ms, ".2f"),
            str(row.descriptor_bytes),
        )
        for row in rows
        if row.map_sparsity == row.query_sparsity and row.change == AS_TAKEN.name
    )
    notes = [*notes, FULL_PRECISION, *([ALL_GATES] if decisions else ())]
    if image_set.unanswerable:
        notes.append(
            f"{image_set.unanswerable} queries have no right image and count as missed, as in "
            "VPR-methods-evaluation."
        )
    return TextTable(image_set.name, headings, (*decided, *cells), tuple(notes))


def _times(p50: float, p95: float, form: str) -> str:
    return "-" if math.isnan(p50) else f"{p50:{form}} / {p95:{form}}"


def image_set_note(image_set: ImageSet) -> str:
    """How large a set is and what counts as right."""
    return (
        f"{image_set.counted} queries, {len(image_set.database)} database images; "
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
