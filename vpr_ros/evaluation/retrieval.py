# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recall of one method on one data set, at every pair of sparsities of map and query."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vpr_ros.core.errors import ConfigError
from vpr_ros.evaluation.baselines.sequence import SequenceRanking
from vpr_ros.evaluation.datasets.image_set import DatasetError, ImageSet, read_image
from vpr_ros.evaluation.methods import Method
from vpr_ros.evaluation.ranking import Array, Ranking, recalls

CHUNK = 4096  # database descriptors held at once
SPARSITIES = (0.0, 0.4, 0.6)  # unless a user asks for others

Tick = Callable[[], None]  # called once per image


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement."""

    method: str
    map_sparsity: float
    query_sparsity: float
    sequence: int  # frames; 0: single images
    recall: dict[int, float]  # N -> R@N, %
    encode_ms: float  # median over the queries, decoding of the file left out
    search_ms: float  # per query
    descriptor_bytes: int  # in the map, as float16
    database: int
    queries: int
    unanswerable: int  # queries without a right answer; they count as missed


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


def images_to_encode(image_set: ImageSet, method: Method, sparsities: Sequence[float]) -> int:
    """How often `measure` will call its tick."""
    runs = len(sparsities_of(method, sparsities))
    return runs * (len(image_set.database) + len(image_set.queries))


def measure(
    image_set: ImageSet,
    method: Method,
    sparsities: Sequence[float] = SPARSITIES,
    sequence: int = 0,
    tick: Tick = lambda: None,
) -> list[Row]:
    """Recalls for every sparsity of the map and of the query; `sequence` > 0 adds SeqSLAM's.

    Memory holds the queries' descriptors at all sparsities and `CHUNK` of the database's; a
    sequence also the whole difference matrix. Raises DatasetError for a sequence where the images
    are not ordered.
    """
    check_sequence(image_set, sequence)
    steps = sparsities_of(method, sparsities)
    method.learn(image_set.database)
    queries, encode_ms = {}, {}
    for s in steps:
        parts, times = zip(*_described(method, image_set.queries, s, tick), strict=True)
        queries[s] = np.concatenate(parts)
        encode_ms[s] = 1e3 * float(np.median(np.concatenate(times)))
    rows = []
    for map_sparsity in steps:
        rankings = {
            (s, length): _ranking(image_set, queries[s], length)
            for s in steps
            for length in sorted({0, sequence})
        }
        seconds = dict.fromkeys(rankings, 0.0)
        start = 0
        for chunk, _ in _described(method, image_set.database, map_sparsity, tick):
            for key, ranking in rankings.items():
                begin = time.perf_counter()
                ranking.add(chunk, start)
                seconds[key] += time.perf_counter() - begin
            start += len(chunk)
        for key, ranking in rankings.items():
            query_sparsity, length = key
            begin = time.perf_counter()
            indices = ranking.indices()
            seconds[key] += time.perf_counter() - begin
            rows.append(
                Row(
                    method=method.name,
                    map_sparsity=map_sparsity,
                    query_sparsity=query_sparsity,
                    sequence=length,
                    recall=recalls(indices, image_set.positives),
                    encode_ms=encode_ms[query_sparsity],
                    search_ms=1e3 * seconds[key] / len(image_set.queries),
                    descriptor_bytes=2 * queries[query_sparsity].shape[1],
                    database=len(image_set.database),
                    queries=len(image_set.queries),
                    unanswerable=image_set.unanswerable,
                )
            )
    return rows


def _ranking(image_set: ImageSet, queries: Array, length: int) -> Ranking | SequenceRanking:
    if not length or image_set.query_frames is None:
        return Ranking(queries, image_set.searchable)
    return SequenceRanking(
        queries, image_set.query_frames, len(image_set.database), length, image_set.searchable
    )


def _described(
    method: Method, images: Sequence[Path], sparsity: float, tick: Tick
) -> Iterator[tuple[Array, list[float]]]:
    """Descriptors (C, D) of `CHUNK` images at a time, and the seconds that each took."""
    for begin in range(0, len(images), CHUNK):
        descriptors, seconds = [], []
        for path in images[begin : begin + CHUNK]:
            image = read_image(path)
            start = time.perf_counter()
            descriptors.append(method.describe(image, sparsity))
            seconds.append(time.perf_counter() - start)
            tick()
        yield np.stack(descriptors), seconds
