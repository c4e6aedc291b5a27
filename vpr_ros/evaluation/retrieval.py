# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well methods find the right image, for every pair of sparsities of map and query."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image, preprocess
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.image_changes import AS_TAKEN, Change
from vpr_ros.evaluation.image_set import DatasetError, ImageSet
from vpr_ros.evaluation.methods import Method
from vpr_ros.evaluation.metrics import p50_p95
from vpr_ros.evaluation.precision_recall import Judged
from vpr_ros.evaluation.search import RANKS, Indices, Ranked, search
from vpr_ros.evaluation.seqslam import search_sequences

TIMED_QUERIES = 100  # whose search is timed one by one
TIMED_RUNS = 100  # of the network


@dataclasses.dataclass(frozen=True)
class Described:
    """Images as one method describes them."""

    method: str
    descriptors: npt.NDArray[np.floating]  # (N, D) of unit length
    encode_ms: Sequence[float]  # (N)
    sparsity: float = 0.0
    change: str = AS_TAKEN.name  # of the images


@dataclasses.dataclass(frozen=True)
class Result:
    """What one method finds by its score alone; shares and times are NaN where there are none."""

    method: str
    sequence: int  # frames; 0: single images
    map_sparsity: float
    query_sparsity: float
    change: str  # of the query images
    recall: dict[int, float]  # k -> R@k
    recall_at_full_precision: float
    average_precision: float
    max_f1: float
    encode_p50_ms: float  # over the queries, without reading the file
    encode_p95_ms: float
    search_p50_ms: float  # one query in the whole map, exhaustive; of single images
    search_p95_ms: float
    descriptor_bytes: int  # in the map


def search_result(
    queries: Described,
    database: Described,
    judge: Callable[[Ranked], Judged],
    searchable: Indices | None,
    frames: Indices | None,
    sequence: int = 0,
    value_bytes: int = 2,
    search_ms: Sequence[float] = (),
) -> Result:
    """What the queries find in the database by single images, or for `sequence` > 0 by SeqSLAM.

    `judge` knows what is right; `searchable` and `frames` as in ImageSet; `value_bytes`: of each
    value of a descriptor in the map.
    """
    shown, asked = database.descriptors, queries.descriptors
    if sequence and frames is not None:
        judged = judge(search_sequences(asked, shown, searchable, frames, sequence))
    else:
        judged = judge(search(asked, shown, searchable))
    curve = judged.curve
    return Result(
        queries.method,
        sequence,
        database.sparsity,
        queries.sparsity,
        queries.change,
        {k: judged.recall_at(k) for k in RANKS},
        curve.recall_at_full_precision,
        curve.average_precision,
        curve.best_f1[0],
        *p50_p95(queries.encode_ms),
        *p50_p95(search_ms),
        value_bytes * shown.shape[1],
    )


def check_sequence(image_set: ImageSet, sequence: int) -> None:
    """Raise DatasetError if sequences are asked for where the images are not ordered."""
    if sequence and image_set.query_frames is None:
        raise DatasetError(
            f"{image_set.name} is not made of drives, image after image, so sequences make no "
            "sense there. Leave --sequence out."
        )


def sparsities_of(method: Method, asked: Sequence[float]) -> list[float]:
    """Those of `asked` that a method can run at, larger ones cut to its maximum."""
    for sparsity in asked:
        if not 0 <= sparsity < 1:
            raise ConfigError(f"Sparsity {sparsity:g} is out of range; give a value in [0, 1).")
    return sorted({min(s, method.sparsity_max) for s in asked})


def measure_all(
    image_set: ImageSet,
    methods: Sequence[Method],
    sparsities: Sequence[float],
    console: Console,
    sequence: int = 0,
    changes: Sequence[Change] = (),
) -> list[Result]:
    """`measure` for every method, with a progress bar."""
    results = []
    with Progress(console) as progress:
        for method in methods:
            steps = len(sparsities_of(method, sparsities))
            images = len(image_set.database) + (1 + len(changes)) * len(image_set.queries)
            progress.begin(f"{image_set.name}, {method.name}", steps * images)
            results += measure(image_set, method, sparsities, sequence, changes, progress.step)
    return results


def measure(
    image_set: ImageSet,
    method: Method,
    sparsities: Sequence[float],
    sequence: int = 0,
    changes: Sequence[Change] = (),
    tick: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Results for every sparsity of the map and of the query; `sequence` > 0 adds SeqSLAM's.

    With each of the `changes` the queries are changed and the map is not, both described at the
    same sparsity. Memory holds the descriptors of the map at one sparsity and of the queries at
    all. `tick` is called once per image. Raises DatasetError for a sequence where the images are
    not ordered.
    """
    check_sequence(image_set, sequence)
    steps = sparsities_of(method, sparsities)
    method.learn(len(image_set.database), lambda i: read_image(image_set.database[i]))

    def described(paths: Sequence[Path], sparsity: float, change: Change = AS_TAKEN) -> Described:
        images = (change.apply(read_image(path)) for path in paths)
        (found,) = describe([method], images, sparsity, tick)
        return dataclasses.replace(found, change=change.name)

    taken = [described(image_set.queries, step) for step in steps]
    results = []
    for step in steps:
        changed = [described(image_set.queries, step, change) for change in changes]
        database = described(image_set.database, step)
        sample = taken[0].descriptors[:TIMED_QUERIES]
        search_ms = [_search_ms(query, database.descriptors) for query in sample]
        lengths = (0, sequence) if sequence else (0,)
        runs = [(queries, length) for queries in taken for length in lengths]
        runs += [(queries, 0) for queries in changed]
        results += [
            search_result(queries, database, image_set.judge, image_set.searchable,
                          image_set.query_frames, length, search_ms=search_ms)
            for queries, length in runs
        ]  # fmt: skip
    return results


def describe(
    methods: Sequence[Method],
    images: Iterable[Image],
    sparsity: float = 0.0,
    tick: Callable[[], None] = lambda: None,
) -> list[Described]:
    """BGR images by each of the methods; every image is read once."""
    descriptors: list[list[npt.NDArray[np.floating]]] = [[] for _ in methods]
    encode_ms: list[list[float]] = [[] for _ in methods]
    for image in images:
        for method, own, times in zip(methods, descriptors, encode_ms, strict=True):
            started = time.perf_counter()
            own.append(method.describe(image, sparsity))
            times.append(1e3 * (time.perf_counter() - started))
        tick()
    return [
        Described(method.name, np.stack(own), times, sparsity)
        for method, own, times in zip(methods, descriptors, encode_ms, strict=True)
    ]


def _search_ms(query: npt.NDArray[np.floating], database: npt.NDArray[np.floating]) -> float:
    """Time of an exhaustive search for one query (D,)."""
    started = time.perf_counter()
    search(query[np.newaxis], database)
    return 1e3 * (time.perf_counter() - started)


def network_ms(encoder: Encoder, image: Image, sparsities: Sequence[float]) -> list[float]:
    """Median time of one run of the network, without decoding and resizing, ms per sparsity.

    The sparsities take turns, so that a busy spell of the machine affects them all.
    """
    pixels = preprocess(image, encoder.contract)
    times = np.empty((TIMED_RUNS, len(sparsities)))
    for turn in range(-1, TIMED_RUNS):  # the first turn warms up and is overwritten by the last
        for column, sparsity in enumerate(sparsities):
            started = time.perf_counter()
            encoder.run(pixels, sparsity)
            times[turn, column] = time.perf_counter() - started
    return [1e3 * float(value) for value in np.median(times, axis=0)]
