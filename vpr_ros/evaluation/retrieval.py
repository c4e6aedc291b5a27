# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recall of one method on one data set, at every pair of sparsities of map and query."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.baselines.sequence import SequenceRanking
from vpr_ros.evaluation.changes import AS_TAKEN, Change
from vpr_ros.evaluation.datasets.image_set import DatasetError, Files, ImageSet, read_image
from vpr_ros.evaluation.methods import Method
from vpr_ros.evaluation.ranking import Array, Ranking, recall_at_full_precision, recalls
from vpr_ros.evaluation.timing import search_seconds

CHUNK = 4096  # database descriptors held at once
TIMED = 100  # queries whose search is timed one by one
SPARSITIES = (0.0, 0.4, 0.6)  # unless a user asks for others

Tick = Callable[[], None]  # called once per image


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
    encode_p50_ms: float  # over the queries, decoding of the file left out
    encode_p95_ms: float
    search_p50_ms: float  # one query in the whole map, exhaustive; of single images
    search_p95_ms: float
    descriptor_bytes: int  # in the map, as float16
    database: int
    queries: int
    unanswerable: int  # queries without a right answer; they count as missed


@dataclasses.dataclass(frozen=True)
class _Queries:
    """The queries as a method describes them."""

    sparsity: float
    change: str
    descriptors: Array  # (Q, D)
    encode_s: npt.NDArray[np.float64]  # (Q,)


def sparsities_of(method: Method, asked: Sequence[float]) -> list[float]:
    """Those of `asked` that a method can run at: 0 alone without a dial."""
    for sparsity in asked:
        if not 0 <= sparsity < 1:
            raise ConfigError(f"Sparsity {sparsity:g} is out of range; give a value in [0, 1).")
    return sorted({min(s, method.sparsity_max) for s in asked})


def check_sequence(image_set: ImageSet, sequence: int) -> None:
    """Raise DatasetError if sequences are asked for where the images are not ordered."""
    if sequence and image_set.query_frames is None:
        raise DatasetError(
            f"{image_set.name} is not made of drives, image after image: sequence matching means "
            "nothing there. Leave it out."
        )


def images_to_encode(
    image_set: ImageSet,
    method: Method,
    sparsities: Sequence[float],
    changes: Sequence[Change] = (),
) -> int:
    """How often `measure` will call its tick."""
    runs = len(sparsities_of(method, sparsities))
    return runs * (len(image_set.database) + (1 + len(changes)) * len(image_set.queries))


def measure(
    image_set: ImageSet,
    method: Method,
    sparsities: Sequence[float] = SPARSITIES,
    sequence: int = 0,
    changes: Sequence[Change] = (),
    tick: Tick = lambda: None,
) -> list[Row]:
    """Recalls for every sparsity of the map and of the query; `sequence` > 0 adds SeqSLAM's.

    For each of the `changes` the queries are changed, the map is not, and both are described at
    one sparsity. Memory holds the queries' descriptors at all sparsities, those of the changes at
    one, and `CHUNK` of the database's; a sequence also the whole difference matrix. Raises
    DatasetError for a sequence where the images are not ordered.
    """
    check_sequence(image_set, sequence)
    steps = sparsities_of(method, sparsities)
    method.learn(Files(image_set.database))
    taken = [_asked(image_set, method, s, AS_TAKEN, tick) for s in steps]
    rows = []
    for map_sparsity in steps:
        changed = [_asked(image_set, method, map_sparsity, c, tick) for c in changes]
        searches = [
            (queries, length, _ranking(image_set, queries.descriptors, length))
            for queries in (*taken, *changed)
            for length in ((0, sequence) if sequence and queries.change == AS_TAKEN.name else (0,))
        ]
        sample = taken[0].descriptors[:TIMED]
        search_s, start = np.zeros(len(sample)), 0
        for chunk, _ in _described(method, image_set.database, map_sparsity, AS_TAKEN, tick):
            search_s += search_seconds(sample, chunk)
            for _, _, ranking in searches:
                ranking.add(chunk, start)
            start += len(chunk)
        for queries, length, ranking in searches:
            ranked = ranking.ranked()
            encode_ms = 1e3 * np.percentile(queries.encode_s, (50, 95))
            search_ms = 1e3 * np.percentile(search_s, (50, 95))
            rows.append(
                Row(
                    method=method.name,
                    map_sparsity=map_sparsity,
                    query_sparsity=queries.sparsity,
                    sequence=length,
                    change=queries.change,
                    recall=recalls(ranked.indices, image_set.positives),
                    recall_at_full_precision=recall_at_full_precision(ranked, image_set.positives),
                    encode_p50_ms=float(encode_ms[0]),
                    encode_p95_ms=float(encode_ms[1]),
                    search_p50_ms=float(search_ms[0]),
                    search_p95_ms=float(search_ms[1]),
                    descriptor_bytes=2 * queries.descriptors.shape[1],
                    database=len(image_set.database),
                    queries=len(image_set.queries),
                    unanswerable=image_set.unanswerable,
                )
            )
    return rows


def _asked(
    image_set: ImageSet, method: Method, sparsity: float, change: Change, tick: Tick
) -> _Queries:
    parts, times = zip(*_described(method, image_set.queries, sparsity, change, tick), strict=True)
    return _Queries(sparsity, change.name, np.concatenate(parts), np.concatenate(times))


def _ranking(image_set: ImageSet, queries: Array, length: int) -> Ranking | SequenceRanking:
    if not length or image_set.query_frames is None:
        return Ranking(queries, image_set.searchable)
    return SequenceRanking(
        queries, image_set.query_frames, len(image_set.database), length, image_set.searchable
    )


def _described(
    method: Method, images: Sequence[Path], sparsity: float, change: Change, tick: Tick
) -> Iterator[tuple[Array, list[float]]]:
    """Descriptors (C, D) of `CHUNK` images at a time, and the seconds that each took."""
    for begin in range(0, len(images), CHUNK):
        descriptors, seconds = [], []
        for path in images[begin : begin + CHUNK]:
            image = change.apply(read_image(path))
            start = time.perf_counter()
            descriptors.append(method.describe(image, sparsity))
            seconds.append(time.perf_counter() - start)
            tick()
        yield np.stack(descriptors), seconds
