# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Measures what a model file must tell the robot: thresholds, battery levels, view change.

python -m tools.shared_sets ../sets
python -m bench.fill_contract tat-vpr-s --sets ../sets --drive results/demo/drive [--write]

Thresholds: per sparsity the highest multiple of 0.02 that the score of every right best match of
`rtabmap_samples` reaches, in a map made at that sparsity and in one made at 0. Levels: the fastest
sparsities that cost at most one point (medium battery) and three points (low) of R@1, mean over
the sets, both in a map made at 0 and in one made at that sparsity. Change: the cosine distance at
which a frame shows another view, the geometric mean of two distances. Still: the largest between
two simulated shots of one image, each with noise, exposure and JPEG of its own, at both ends of
the sparsity range. Moved: the median between neighbouring keyframes of a bag with odometry, half
a metre or 20 degrees apart. With --write all three go into the model file.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image
from vpr_ros.evaluation.bag import Bag, choose_topics
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.image_set import DatasetOptions, ImageSet
from vpr_ros.evaluation.layouts import open_dataset
from vpr_ros.evaluation.methods import Model
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.replay import EncoderReplay
from vpr_ros.evaluation.retrieval import measure_all, network_ms
from vpr_ros.evaluation.search import search

THRESHOLD_SET = "rtabmap_samples"
THRESHOLD_STEP = 0.02
THRESHOLDS_AT = (0.0, 0.2, 0.4, 0.6)
LEVEL_SETS = ("ie_tower", "corridor", "campus_robot", "rtabmap_samples", "home_streetview")
LEVELS_AT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
MEDIUM_COST, LOW_COST = 1.0, 3.0  # points of R@1
STILL_SETS = ("rtabmap_samples", "campus_robot")
STILL_IMAGES = 10  # of each set, evenly spread
NOISE, EXPOSURE, QUALITY = 4.0, 0.01, 90  # sigma of 255, sigma, JPEG: a camera indoors


@dataclasses.dataclass(frozen=True)
class Level:
    """What one sparsity costs and saves."""

    sparsity: float
    time: float  # of the network, as a share of that at 0
    in_dense_map: float  # mean R@1 over the sets, %, in a map made at 0
    in_own_map: float  # the same in a map made at this sparsity


def open_set(sets: Path, name: str) -> ImageSet:
    """A set below `sets`; DatasetError if it is not there."""
    frames = {"corridor": 2}  # VPR-Bench's tolerance
    return open_dataset(sets / name, DatasetOptions(frames=frames.get(name, 1)))


def thresholds(encoder: Encoder, image_set: ImageSet) -> list[Calibration]:
    """One threshold per sparsity, none above that of a lower sparsity."""
    limit = encoder.contract.sparsity_max
    dense = _describe(encoder, image_set.database, 0.0)
    found: list[Calibration] = []
    for sparsity in sorted({*(s for s in THRESHOLDS_AT if s <= limit), limit}):
        queries = _describe(encoder, image_set.queries, sparsity)
        own = _describe(encoder, image_set.database, sparsity)
        lowest = min(lowest_right(image_set, queries, places) for places in (own, dense))
        score = math.floor(lowest / THRESHOLD_STEP) * THRESHOLD_STEP
        found.append(Calibration(sparsity, min([score, *(c.score_threshold for c in found)]), 0.0))
    return found


def lowest_right(
    image_set: ImageSet, queries: npt.NDArray[np.float32], places: npt.NDArray[np.float32]
) -> float:
    """The lowest score of a best match that is right; descriptors (Q, D) and (N, D)."""
    judged = image_set.judge(search(queries, places, image_set.searchable))
    return float(judged.ranked.scores[judged.hits[:, 0], 0].min())


def _describe(encoder: Encoder, paths: Sequence[Path], sparsity: float) -> npt.NDArray[np.float32]:
    return np.stack([encoder.encode(read_image(path), sparsity) for path in paths])


def levels(model: Model, sets: Sequence[ImageSet], console: Console) -> list[Level]:
    """Every sparsity of LEVELS_AT that the model has, from 0 on."""
    steps = [s for s in LEVELS_AT if s <= model.sparsity_max]
    recalls: dict[tuple[float, float], list[float]] = {}
    for image_set in sets:
        for row in measure_all(image_set, [model], steps, console):
            pair = (row.map_sparsity, row.query_sparsity)
            recalls.setdefault(pair, []).append(100 * row.recall[1])
    times = network_ms(model.encoder, read_image(sets[0].queries[0]), steps)
    mean = {pair: float(np.mean(values)) for pair, values in recalls.items()}
    return [
        Level(s, time / times[0], mean[0.0, s], mean[s, s])
        for s, time in zip(steps, times, strict=True)
    ]


def battery_levels(found: Sequence[Level]) -> tuple[float, float]:
    """Sparsity of a medium and of a low battery; the latter is no lower."""
    medium, low = (_fastest(found, cost).sparsity for cost in (MEDIUM_COST, LOW_COST))
    return medium, max(medium, low)


def _fastest(found: Sequence[Level], cost: float) -> Level:
    """The fastest that loses at most `cost` points of what is found at 0.

    In either map: a robot returns to places that it mapped while its battery was full, and it goes
    on mapping while its battery is low.
    """
    least = found[0].in_own_map - cost
    enough = (one for one in found if min(one.in_dense_map, one.in_own_map) >= least)
    return min(enough, key=lambda one: one.time)


def print_levels(found: Sequence[Level]) -> tuple[float, float]:
    """The table of the sparsities; returns the levels of a medium and of a low battery."""
    print("\n| sparsity | time | R@1, map at 0 | R@1, map at the same |\n|---:|---:|---:|---:|")
    for one in found:
        recalls = f"{one.in_dense_map:.1f} | {one.in_own_map:.1f}"
        print(f"| {one.sparsity:g} | {one.time:.2f} | {recalls} |")
    medium, low = battery_levels(found)
    print(f"\nBattery levels: medium {medium:g}, low {low:g}")
    return medium, low


def change_between(still: float, moved: float) -> float:
    """The view change between the two distances, to one digit."""
    return float(f"{math.sqrt(still * moved):.1g}")


def still_distance(encoder: Encoder, images: Sequence[Image]) -> float:
    """The largest cosine distance of two shots of one image."""
    random = np.random.default_rng(0)
    found = []
    for sparsity in (0.0, encoder.contract.sparsity_max):
        for image in images:
            one, other = (encoder.encode(shot(image, random), sparsity) for _ in range(2))
            found.append(1.0 - float(one @ other))
    return max(found)


def shot(image: Image, random: np.random.Generator) -> Image:
    """What a camera would make of the same view a moment later."""
    values = image * random.normal(1.0, EXPOSURE) + random.normal(0.0, NOISE, image.shape)
    noisy = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    _, file = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)


def moved_distance(encoder: Encoder, drive: Path) -> float:
    """The median cosine distance of neighbouring keyframes of a bag with odometry."""
    with Bag(drive) as bag:
        topics = choose_topics(bag, "", "")
        seen = EncoderReplay(encoder, Settings()).keyframes(bag, topics, Progress())
        descriptors = np.stack([one.keyframe.descriptor for one in seen])
    cosines = (descriptors[1:] * descriptors[:-1]).sum(axis=1)
    return float(np.median(1.0 - cosines))


def fill(name: str, sets: Path, drive: Path, write: bool, console: Console) -> None:
    """Measure one model, print what was found, and write it if asked to."""
    model = Model(name, threads=1)
    encoder = model.encoder
    print(f"\n{name}\n\n| sparsity | score threshold |\n|---:|---:|")
    calibration = thresholds(encoder, open_set(sets, THRESHOLD_SET))
    for point in calibration:
        print(f"| {point.sparsity:g} | {point.score_threshold:.2f} |")
    own_levels: tuple[float, ...] = ()
    if model.sparsity_max:
        own_levels = print_levels(
            levels(model, [open_set(sets, one) for one in LEVEL_SETS], console)
        )
    images = [
        read_image(path)
        for image_set in (open_set(sets, one) for one in STILL_SETS)
        for path in image_set.database[:: max(1, len(image_set.database) // STILL_IMAGES)]
    ]
    still, moved = still_distance(encoder, images), moved_distance(encoder, drive)
    change = change_between(still, moved)
    print(f"View change: {change:g}; still at most {still:.3f}, moved {moved:.3f} in the median")
    if write:
        import onnx

        from vpr_ros.export.onnx_file import write_onnx

        contract = dataclasses.replace(
            encoder.contract, calibration=tuple(calibration), levels=own_levels, change=change
        )
        write_onnx(onnx.load(encoder.path), contract, encoder.path)


def main() -> int:
    """Measure and print; 0 unless an input is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fill_contract",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", help="names or paths of model files")
    parser.add_argument("--sets", type=Path, required=True, help="folder of the image sets")
    parser.add_argument("--drive", type=Path, required=True, help="a bag with odometry")
    parser.add_argument("--write", action="store_true", help="into the model files")
    options = parser.parse_args()
    try:
        for name in options.models:
            fill(name, options.sets, options.drive, options.write, Console(stderr=True))
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
