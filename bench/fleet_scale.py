# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a hundred thousand keyframes take: bytes, time, and what an approximate search misses.

python -m bench.fleet_scale --images ../shared/data --images results/demo/drive

Every image of the folders and drives is a place that is visited again and again: a view is the
image cut, turned, shifted and lit at random, and encoded by the default model. Where that takes
too long, --encoded says how many are; the others are blends of two views of one place. A folder
is one building, one round of visits one robot's session. Descriptors are cached, so an interrupted
run goes on.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from bench.measure import memory_mb
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image
from vpr_ros.core.keyframe import NS_PER_S, Keyframe, LocalFeatures
from vpr_ros.core.model_files import DEFAULT_MODEL, find_model
from vpr_ros.evaluation.bag import Bag, bag_images, choose_topics, is_bag
from vpr_ros.evaluation.image_set import images_in
from vpr_ros.fleet.fleet import Fleet, FleetKeyframe, Where
from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet
from vpr_ros.fleet.payload import encode

SPARSITY = 0.6  # of a robot whose battery is low; it halves the time that this takes
CHUNK = 100  # images per file of the cache
QUERY_EVERY = 8  # images, of which one is visited once more: a query


def images(sources: list[Path]) -> Iterator[tuple[str, Callable[[], Image]]]:
    """(building, its image) for all images of bags and folders, whose subfolders are buildings."""
    for source in sources:
        if is_bag(source):
            with Bag(source) as bag:
                for image in bag_images(bag, choose_topics(bag)):
                    yield source.name, image.frame.decode
        else:
            for path in images_in(source):
                yield path.relative_to(source).parts[0], functools.partial(read_image, path)


def visits(image: Image, count: int, random: np.random.Generator) -> Iterator[Image]:
    """What a camera sees of one place at `count` visits: BGR images, 320 px wide."""
    width, height = 320, round(320 * image.shape[0] / image.shape[1])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    for _ in range(count):
        scale, turn_deg = random.uniform(1, 1.35), random.uniform(-3, 3)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn_deg, scale)
        matrix[:, 2] += random.uniform(-1, 1, 2) * (scale - 1) / 2 * (width, height)
        seen = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        if random.random() < 0.2:
            seen = cv2.GaussianBlur(seen, (0, 0), 1.0)
        lit = random.uniform(0.6, 1.3) * (seen / np.float32(255)) ** random.uniform(0.6, 1.6)
        yield np.clip(255 * lit, 0, 255).astype(np.uint8)


def describe(
    sources: list[Path], wanted: int, most: int, cache: Path
) -> list[tuple[str, Callable[[], Image]]]:
    """Write descriptors of `wanted` views, but `most`, and of queries to files of the cache.

    Returns the images as `images` does.
    """
    found = list(images(sources))
    per_image = -(-wanted // len(found))
    cache.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(find_model(DEFAULT_MODEL))
    for first in range(0, len(found), CHUNK):
        path = cache / f"{per_image}_{first:06}.npz"
        if path.exists():
            continue
        if first * per_image >= most:
            break
        rows, places, rounds = [], [], []
        for number in range(first, min(first + CHUNK, len(found))):
            random = np.random.default_rng(number)
            count = per_image + (number % QUERY_EVERY == 0)
            for turn, view in enumerate(visits(found[number][1](), count, random)):
                rows.append(encoder.encode(view, SPARSITY).astype(np.float16))
                places.append(number)
                rounds.append(turn)
        buildings = [found[number][0] for number in places]
        unfinished = cache / "unfinished.npz"
        np.savez(unfinished, rows=rows, places=places, rounds=rounds, buildings=buildings)
        unfinished.rename(path)
    return found


@dataclasses.dataclass(frozen=True)
class Keyframes:
    """All descriptors of a cache."""

    rows: npt.NDArray[np.float16]  # (N, D)
    places: npt.NDArray[np.int64]  # (N,) number of the image
    rounds: npt.NDArray[np.int64]  # (N,) number of the visit
    buildings: npt.NDArray[np.str_]  # (N,)

    @classmethod
    def read(cls, cache: Path, wanted: int) -> tuple[Keyframes, Keyframes]:
        """`wanted` keyframes and the queries; what was not encoded is blended."""
        files = sorted(cache.glob("*_*.npz"))
        per_image, parts = int(files[0].name.split("_")[0]), [np.load(path) for path in files]
        names = [field.name for field in dataclasses.fields(cls)]
        columns = [np.concatenate([part[name] for part in parts]) for name in names]
        asked = columns[2] == per_image
        stored = cls(*(column[~asked] for column in columns))
        print(f"{len(stored.rows)} views of {len(stored.rows) // per_image} images encoded")
        return stored.more(per_image, wanted), cls(*(column[asked] for column in columns))

    def more(self, per_image: int, wanted: int) -> Keyframes:
        """With visits between two of the same place, until there are so many."""
        starts = np.arange(0, len(self.rows), per_image)
        rounds = range(per_image, per_image + -(-(wanted - len(self.rows)) // len(starts)))
        one = np.concatenate([starts + turn % per_image for turn in rounds] or [starts[:0]])
        two = np.concatenate(
            [starts + (turn * 3 + 1) % per_image for turn in rounds] or [starts[:0]]
        )
        between = 0.6 * self.rows[one].astype(np.float32) + 0.4 * self.rows[two]
        between /= np.linalg.norm(between, axis=1, keepdims=True)
        added = (
            between.astype(np.float16),
            self.places[one],
            np.repeat(rounds, len(starts)),
            self.buildings[one],
        )
        columns = dataclasses.astuple(self)
        both = [np.concatenate(pair)[:wanted] for pair in zip(columns, added, strict=True)]
        in_time = np.lexsort((both[1], both[2]))  # one session after the other, as robots drive
        return Keyframes(*(column[in_time] for column in both))


def exact(stored: Keyframes, queries: Keyframes, count: int) -> npt.NDArray[np.int64]:
    """The best `count` rows (Q, count) of each query's building, by cosine."""
    scores = queries.rows.astype(np.float32) @ stored.rows.astype(np.float32).T
    scores[queries.buildings[:, np.newaxis] != stored.buildings] = -2
    best = np.argpartition(-scores, count, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def indexes(size: int, count: int) -> Iterator[tuple[str, Any, list[tuple[str, Any]]]]:
    """(name, an empty index, how it is searched: words and FAISS's parameters)."""
    inner, half = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_fp16
    lists = 1 << round(math.log2(4 * math.sqrt(count)))
    exhaustive = faiss.IndexScalarQuantizer(size, half, inner)
    yield "exact, float16", exhaustive, [("", faiss.SearchParameters)]
    graph = faiss.IndexHNSWSQ(size, half, 16, inner)
    graph.hnsw.efConstruction = 128
    widths = (32, 64, 128)
    ways = [(f"ef {ef}", partial(faiss.SearchParametersHNSW, efSearch=ef)) for ef in widths]
    yield "HNSW, M 16, float16", graph, ways
    for name, kind in (("float16", half), ("8 bits", faiss.ScalarQuantizer.QT_8bit)):
        cells = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(size), size, lists, kind, inner)
        cells.cp.niter, cells.cp.max_points_per_centroid = 8, 39
        ways = [(f"nprobe {n}", partial(faiss.SearchParametersIVF, nprobe=n)) for n in (8, 32)]
        yield f"IVF, {lists} lists, {name}", cells, ways


def compare_indexes(stored: Keyframes, queries: Keyframes, truth: npt.NDArray[np.int64]) -> Table:
    """Recall of the true best, bytes and time of each index, with the filter in the search."""
    table = Table("index", "search", "bytes a keyframe", "built in s", "recall@1", "recall@20",
                  "right place first", "one building, ms", "all, ms")  # fmt: skip
    rows, asked = stored.rows.astype(np.float32), queries.rows.astype(np.float32)
    masks = {name: np.packbits(stored.buildings == name, bitorder="little")
             for name in set(queries.buildings.tolist())}  # fmt: skip
    for name, index, ways in indexes(rows.shape[1], len(rows)):
        started = time.perf_counter()
        if not index.is_trained:
            index.train(rows)
        index.add(rows)
        built_s, size = time.perf_counter() - started, len(faiss.serialize_index(index))
        for words, parameters in ways:
            answers, times_ms, free_ms = [], [], []
            for query, building in zip(asked, queries.buildings.tolist(), strict=True):
                selector = faiss.IDSelectorBitmap(masks[building])
                started = time.perf_counter()
                answers.append(index.search(query[None], 20, params=parameters(sel=selector))[1])
                times_ms.append(1e3 * (time.perf_counter() - started))
            for query in asked[:100]:
                started = time.perf_counter()
                index.search(query[None], 20, params=parameters())
                free_ms.append(1e3 * (time.perf_counter() - started))
            cells = measured(np.concatenate(answers), truth, stored, queries)
            table.add_row(name, words, f"{size / len(rows):.0f}", f"{built_s:.0f}", *cells,
                          f"{np.median(times_ms):.1f}", f"{np.median(free_ms):.1f}")  # fmt: skip
    return table


def measured(
    found: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
    stored: Keyframes,
    queries: Keyframes,
) -> list[str]:
    """Recall of the true best and the true best 20, and how often the first is of the place."""
    first = (found[:, 0] == truth[:, 0]).mean()
    twenty = np.mean([len(set(f) & set(t)) for f, t in zip(found, truth, strict=True)]) / 20
    right = ((found[:, 0] >= 0) & (stored.places[found[:, 0]] == queries.places)).mean()
    return [f"{100 * share:.1f} %" for share in (first, twenty, right)]


def fleet_keyframe(stored: Keyframes, row: int, features: LocalFeatures | None) -> FleetKeyframe:
    """A stored row as one of three robots has it; one round is one run of its encoder."""
    turn, place = int(stored.rounds[row]), int(stored.places[row])
    vector = stored.rows[row].astype(np.float32)
    keyframe = Keyframe(
        first_id(turn) + place,
        (turn * 10**5 + place) * NS_PER_S,
        DEFAULT_MODEL,
        SPARSITY,
        vector / np.linalg.norm(vector),
        features=features,
    )
    return FleetKeyframe(f"robot{turn % 3}", str(stored.buildings[row]), keyframe)


def first_id(turn: int) -> int:
    """Of the keyframes of a round."""
    return (turn + 1) << 23


def on_a_robot(
    stored: Keyframes,
    queries: Keyframes,
    features: Callable[[int], LocalFeatures | None],
    path: Path,
) -> Table:
    """What the robot's own database of all of them takes, and its map file."""
    database = Database(DatabaseConfig(max_keyframes=1_000_000, max_mb=1_000_000))
    before_mb = memory_mb(os.getpid())
    for row, place in enumerate(stored.places.tolist()):
        item = fleet_keyframe(stored, row, copy.deepcopy(features(place)))
        database.add(item.keyframe)
    used = 1e6 * (memory_mb(os.getpid()) - before_mb) / len(database)
    started = time.perf_counter()
    size = database.save(path, overwrite=True) / len(database)
    saved_s, times_ms = time.perf_counter() - started, []
    for query in queries.rows[:200].astype(np.float32):
        started = time.perf_counter()
        database.search_older(query / np.linalg.norm(query), 0, 20)
        times_ms.append(1e3 * (time.perf_counter() - started))
    table = Table("keyframes", "memory, bytes each", "file, bytes each", "save, s", "search, ms")
    table.add_row(str(len(database)), f"{used:.0f}", f"{size:.0f}", f"{saved_s:.0f}",
                  f"{np.median(times_ms):.0f}")  # fmt: skip
    return table


def fill(
    fleet: Fleet,
    stored: Keyframes,
    features: Callable[[int], LocalFeatures | None],
    featured: int,
) -> None:
    """Send what the fleet lacks, the first `featured` with local features, and say how fast."""
    there = {entry.id for entry in fleet.entries(Where())}
    ids = [first_id(int(t)) + int(p) for t, p in zip(stored.rounds, stored.places, strict=True)]
    missing = [row for row, id in enumerate(ids) if id not in there]
    started, size = time.perf_counter(), 0
    for first in range(0, len(missing), 100):
        batch = [
            fleet_keyframe(stored, r, features(int(stored.places[r])) if r < featured else None)
            for r in missing[first : first + 100]
        ]
        size += len(encode(batch[0]))
        fleet.put(batch)
    if missing:
        rate = len(missing) / (time.perf_counter() - started)
        mean = size / math.ceil(len(missing) / 100)
        print(f"{len(missing)} keyframes sent, {rate:.0f} a second, payload {mean:.0f} bytes")


def ask(
    fleet: Fleet, stored: Keyframes, queries: Keyframes, truth: npt.NDArray[np.int64]
) -> Table:
    """What a search in the fleet takes and finds, without the session that asks."""
    row_of = {
        first_id(int(t)) + int(p): row
        for row, (t, p) in enumerate(zip(stored.rounds, stored.places, strict=True))
    }
    found, times_ms = [], []
    for query, building in zip(queries.rows, queries.buildings.tolist(), strict=True):
        where = Where(map=building, model=f"name:{DEFAULT_MODEL}", without_sessions=(10**6,))
        started = time.perf_counter()
        (hits,) = fleet.find(query[None].astype(np.float32), 20, where)
        times_ms.append(1e3 * (time.perf_counter() - started))
        rows = [row_of[hit.entry.id] for hit in hits]
        found.append(rows + [-1] * (20 - len(rows)))
    cells = measured(np.array(found), truth, stored, queries)
    table = Table("keyframes", "recall@1", "recall@20", "right place first", "p50 ms", "p95 ms")
    p50, p95 = np.percentile(times_ms, (50, 95))
    table.add_row(str(fleet.count(Where())), *cells, f"{p50:.1f}", f"{p95:.1f}")
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, action="append", required=True)
    parser.add_argument("--cache", type=Path, default=Path("results/scale"))
    parser.add_argument("--keyframes", type=int, default=100_000)
    parser.add_argument("--fleet", default="", help="where Milvus is; empty: FAISS only")
    parser.add_argument("--encoded", type=int, default=100_000, help="the rest is blended")
    parser.add_argument("--featured", type=int, default=0, help="so many go with local features")
    options = parser.parse_args()
    found = describe(options.images, options.keyframes, options.encoded, options.cache)
    stored, queries = Keyframes.read(options.cache, options.keyframes)
    print(f"{len(stored.rows)} keyframes, {len(queries.rows)} queries, "
          f"{len(set(stored.buildings.tolist()))} buildings")  # fmt: skip
    truth = exact(stored, queries, 20)
    console = Console(width=160)
    extractor = FeatureExtractor(FeatureConfig())
    features = functools.cache(lambda place: extractor.extract(found[place][1]()))
    if options.fleet:
        fleet = MilvusFleet(MilvusConfig(uri=options.fleet, collection="fleet_scale"))
        fill(fleet, stored, features, options.featured)
        console.print(ask(fleet, stored, queries, truth))
        fleet.close()
    else:
        console.print(compare_indexes(stored, queries, truth))
        console.print(on_a_robot(stored, queries, features, options.cache / "all.vprmap"))


if __name__ == "__main__":
    main()
