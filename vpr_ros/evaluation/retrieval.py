# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well methods find the right image, for every pair of sparsities of map and query."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from rich.console import Console

from vpr_ros.core.descriptor_index import DescriptorIndex
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image, preprocess
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.descriptor_store import Described, DescriptorStore
from vpr_ros.evaluation.image_changes import Change
from vpr_ros.evaluation.image_set import DatasetError, ImageSet
from vpr_ros.evaluation.methods import Method
from vpr_ros.evaluation.metrics import p50_p95
from vpr_ros.evaluation.precision_recall import Judged
from vpr_ros.evaluation.search import RANKS, Indices, Ranked, search
from vpr_ros.evaluation.seqslam import search_sequences

TIMED_QUERIES = 100  # whose search is timed one by one
TIMED_RUNS = 100  # of the network
INDEX_BYTES = 1e9  # of the largest map in which searches are timed; it is in memory


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
        *p50_p95(() if sequence else search_ms),
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
    store: DescriptorStore,
    console: Console,
    sequence: int = 0,
    changes: Sequence[Change] = (),
) -> list[Result]:
    """`measure` for every method, with a progress bar."""
    results = []
    with Progress(console) as progress:
        store.tick = progress.step
        for method in methods:
            steps = len(sparsities_of(method, sparsities))
            images = len(image_set.database) + (1 + len(changes)) * len(image_set.queries)
            progress.begin(f"{image_set.name}, {method.name}", steps * images)
            results += measure(image_set, method, sparsities, sequence, changes, store)
    return results


def measure(
    image_set: ImageSet,
    method: Method,
    sparsities: Sequence[float],
    sequence: int = 0,
    changes: Sequence[Change] = (),
    store: DescriptorStore | None = None,
) -> list[Result]:
    """Results for every sparsity of the map and of the query; `sequence` > 0 adds SeqSLAM's.

    With each of the `changes` the queries are changed and the map is not, both described at the
    same sparsity. `store` says which images were left out, since they cannot be read. Raises
    DatasetError for a sequence where the images are not ordered, or for too many of these.
    """
    check_sequence(image_set, sequence)
    store = store or DescriptorStore()
    steps = sparsities_of(method, sparsities)
    method.learn(len(image_set.database), lambda i: read_image(image_set.database[i]))
    taken = [store.describe(method, image_set.queries, step) for step in steps]
    results = []
    for step in steps:
        changed = [store.describe(method, image_set.queries, step, change) for change in changes]
        database = store.describe(method, image_set.database, step)
        judge = image_set.without(store.unreadable).judge
        search_ms = _search_ms(taken[0].descriptors[:TIMED_QUERIES], database.descriptors)
        lengths = (0, sequence) if sequence else (0,)
        runs = [(queries, length) for queries in taken for length in lengths]
        runs += [(queries, 0) for queries in changed]
        results += [
            search_result(queries, database, judge, image_set.searchable,
                          image_set.query_frames, length, search_ms=search_ms)
            for queries, length in runs
        ]  # fmt: skip
    return results


def _search_ms(
    queries: npt.NDArray[np.floating], database: npt.NDArray[np.floating]
) -> list[float]:
    """Times of exhaustive searches for one query each in the robot's index of N descriptors.

    Nothing if that takes more than INDEX_BYTES.
    """
    if database.nbytes > INDEX_BYTES:
        return []
    index = DescriptorIndex(database.shape[1], "float16")
    index.add(np.nan_to_num(database), np.arange(len(database)))
    times = []
    for query in np.nan_to_num(np.asarray(queries, np.float32)):
        started = time.perf_counter()
        list(index.search(query, RANKS[-1], None))
        times.append(1e3 * (time.perf_counter() - started))
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
