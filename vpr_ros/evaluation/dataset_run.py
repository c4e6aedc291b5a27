# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command behind `vpr evaluate DATASET`: methods on one data set, tables, a results folder."""

from __future__ import annotations

import dataclasses
import json
import resource
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vpr_ros.core.model_files import DEFAULT_MODEL
from vpr_ros.evaluation.changes import CHANGES, Change
from vpr_ros.evaluation.console import ended_by_signals, say
from vpr_ros.evaluation.datasets.image_set import ImageSet
from vpr_ros.evaluation.datasets.layouts import open_dataset
from vpr_ros.evaluation.datasets.options import DatasetOptions
from vpr_ros.evaluation.methods import (
    BASELINES,
    Method,
    Model,
    baseline_models,
    open_method,
    tell_apart,
)
from vpr_ros.evaluation.progress import Progress
from vpr_ros.evaluation.retrieval import SPARSITIES, Row, check_sequence, images_to_encode, measure
from vpr_ros.evaluation.retrieval_tables import cross_tables, recall_table, robustness_table
from vpr_ros.evaluation.run_folder import RESULTS, latest, own_command, run_folder


def evaluate_dataset(
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
    console: Console | None = None,
) -> list[Row]:
    """Measure, print and write `results`/<time>/{metrics.json,tables.md}.

    `models` are names or paths; `sequence` > 0 adds SeqSLAM over that many frames to each,
    `robustness` the recalls of changed queries.
    Raises VprError, with nothing left on the disk, if the data set or a model cannot be used.
    """
    console = console or Console()
    image_set = open_dataset(path, options)
    check_sequence(image_set, sequence)  # before the models are loaded
    beside = [*baseline_models(models), *BASELINES] if baselines else []
    names = dict.fromkeys([*models, *beside])
    methods = [open_method(name, threads) for name in names]
    tell_apart([method for method in methods if isinstance(method, Model)])
    changes = CHANGES if robustness else ()
    rows = measure_all(image_set, methods, sparsities, console, sequence, changes)
    tables = [recall_table(image_set, rows), *cross_tables(image_set, rows)]
    if robustness:
        tables.append(robustness_table(image_set, rows, changes))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    metrics = {
        "command": own_command(),
        "dataset": image_set.name,
        "right": image_set.rule,
        "threads": threads,
        "peak_memory_mb": round(peak_mb),
        "changes": {change.name: change.words for change in changes},
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    with run_folder(results) as folder:
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        (folder / "tables.md").write_text("\n".join(table.markdown() for table in tables))
    for table in tables:
        table.print(console)
    say(console, f"Peak memory {peak_mb:.0f} MB. Written to {latest(results)}")
    return rows


def measure_all(
    image_set: ImageSet,
    methods: Sequence[Method],
    sparsities: Sequence[float],
    console: Console,
    sequence: int = 0,
    changes: Sequence[Change] = (),
) -> list[Row]:
    """`measure` for every method, with a progress bar."""
    rows = []
    with ended_by_signals(), Progress(console) as progress:
        for method in methods:
            total = images_to_encode(image_set, method, sparsities, changes)
            progress.start(f"{image_set.name}, {method.name}", total)
            rows += measure(image_set, method, sparsities, sequence, changes, progress.step)
    return rows
