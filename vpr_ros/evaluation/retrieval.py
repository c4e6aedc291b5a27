# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recall of one method on one data set, for every pair of sparsities of map and query."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.images import Image, preprocess
from vpr_ros.evaluation.console import Progress, ended_by_signals
from vpr_ros.evaluation.image_changes import AS_TAKEN, Change
from vpr_ros.evaluation.image_set import DatasetError, ImageSet, read_image
from vpr_ros.evaluation.methods import Method
from vpr_ros.evaluation.metrics import p50_p95
from vpr_ros.evaluation.search import (
    RANKS,
    Array,
    Ranking,
    best,
    recall_at_full_precision,
    recalls,
)
from vpr_ros.evaluation.seqslam import SequenceRanking

CHUNK = 4096  # database descriptors held at once
TIMED_QUERIES = 100  # whose search is timed one by one
TIMED_RUNS = 100  # of the network


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement."""

    method: str
    map_sparsity: float
    query_sparsity: float
    sequence: int  # frames; 0: single images
    change: str  # of the query images
    recall: dict[int, float]  # N -> R@N, %
    recall_at_full_precision: float | None  # %; None if no query has a right answer
    encode_p50_ms: float  # over the queries, without reading the file
    encode_p95_ms: float
    search_p50_ms: float  # one query in the whole map, exhaustive; of single images
    search_p95_ms: float
    descriptor_bytes: int  # in the map, as float16


@dataclasses.dataclass(frozen=True)
class _Queries:
    """The queries as a method describes them."""

    sparsity: float
    change: str
    descriptors: Array  # (Q, D)
    encode_s: list[float]  # (Q)


def sparsities_of(method: Method, asked: Sequence[float]) -> list[float]:
    """Those of `asked` that a method can run at, larger ones cut to its maximum."""
    for sparsity in asked:
        if not 0 <= sparsity < 1:
            raise ConfigError(f"Sparsity {sparsity:g} is out of range; give a value in [0, 1).")
    return sorted({min(s, method.sparsity_max) for s in asked})


def check_sequence(image_set: ImageSet, sequence: int) -> None:
    """Raise DatasetError if sequences are asked for where the images are not ordered."""
    if sequence and image_set.query_frames is None:
        raise DatasetError(
            f"{image_set.name} is not made of drives, image after image, so sequences make no "
            "sense there. Leave --sequence out."
        )


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
            steps = len(sparsities_of(method, sparsities))
            images = len(image_set.database) + (1 + len(changes)) * len(image_set.queries)
            progress.start(f"{image_set.name}, {method.name}", steps * images)
            rows += measure(image_set, method, sparsities, sequence, changes, progress.step)
    return rows


def measure(
    image_set: ImageSet,
    method: Method,
    sparsities: Sequence[float],
    sequence: int = 0,
    changes: Sequence[Change] = (),
    tick: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Recalls for every sparsity of the map and of the query; `sequence` > 0 adds SeqSLAM's.

    With each of the `changes` the queries are changed and the map is not, both described at the
    same sparsity. Memory holds the queries' descriptors at all sparsities, those of the changes
    at one, and CHUNK of the database's; a sequence also the whole difference matrix. `tick` is
    called once per image. Raises DatasetError for a sequence where the images are not ordered.
    """
    check_sequence(image_set, sequence)
    steps = sparsities_of(method, sparsities)
    method.learn(len(image_set.database), lambda i: read_image(image_set.database[i]))
    taken = [_describe_queries(image_set, method, s, AS_TAKEN, tick) for s in steps]
    rows = []
    for map_sparsity in steps:
        changed = [_describe_queries(image_set, method, map_sparsity, c, tick) for c in changes]
        searches = [
            (queries, length, _ranking(image_set, queries.descriptors, length))
            for queries in (*taken, *changed)
            for length in ((0, sequence) if sequence and queries.change == AS_TAKEN.name else (0,))
        ]
        sample = taken[0].descriptors[:TIMED_QUERIES]
        search_s, start = np.zeros(len(sample)), 0
        for chunk, _ in _describe(method, image_set.database, map_sparsity, AS_TAKEN, tick):
            search_s += _search_seconds(sample, chunk)
            for _, _, ranking in searches:
                ranking.add(chunk, start)
            start += len(chunk)
        for queries, length, ranking in searches:
            ranked = ranking.ranked()
            encode_ms, search_ms = p50_p95(queries.encode_s), p50_p95(search_s)
            rows.append(
                Row(
                    method=method.name,
                    map_sparsity=map_sparsity,
                    query_sparsity=queries.sparsity,
                    sequence=length,
                    change=queries.change,
                    recall=recalls(ranked.indices, image_set.positives),
                    recall_at_full_precision=recall_at_full_precision(ranked, image_set.positives),
                    encode_p50_ms=encode_ms[0],
                    encode_p95_ms=encode_ms[1],
                    search_p50_ms=search_ms[0],
                    search_p95_ms=search_ms[1],
                    descriptor_bytes=2 * queries.descriptors.shape[1],
                )
            )
    return rows


def _describe_queries(
    image_set: ImageSet,
    method: Method,
    sparsity: float,
    change: Change,
    tick: Callable[[], None],
) -> _Queries:
    found = list(_describe(method, image_set.queries, sparsity, change, tick))
    descriptors = np.concatenate([descriptors for descriptors, _ in found])
    seconds = [value for _, part in found for value in part]
    return _Queries(sparsity, change.name, descriptors, seconds)


def _ranking(image_set: ImageSet, queries: Array, length: int) -> Ranking | SequenceRanking:
    if not length or image_set.query_frames is None:
        return Ranking(queries, image_set.searchable)
    return SequenceRanking(
        queries, image_set.query_frames, len(image_set.database), length, image_set.searchable
    )


def _describe(
    method: Method,
    images: Sequence[Path],
    sparsity: float,
    change: Change,
    tick: Callable[[], None],
) -> Iterator[tuple[Array, list[float]]]:
    """Descriptors (C, D) of CHUNK images at a time, and the seconds that each took."""
    for begin in range(0, len(images), CHUNK):
        descriptors, seconds = [], []
        for path in images[begin : begin + CHUNK]:
            image = change.apply(read_image(path))
            started = time.perf_counter()
            descriptors.append(method.describe(image, sparsity))
            seconds.append(time.perf_counter() - started)
            tick()
        yield np.stack(descriptors), seconds


def _search_seconds(queries: Array, database: Array) -> npt.NDArray[np.float64]:
    """Time (Q,) of an exhaustive search for each of the `queries` (Q, D), one at a time."""
    times = np.empty(len(queries))
    for i, query in enumerate(queries):
        started = time.perf_counter()
        best(query[np.newaxis] @ database.T, RANKS[-1])
        times[i] = time.perf_counter() - started
    return times


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
