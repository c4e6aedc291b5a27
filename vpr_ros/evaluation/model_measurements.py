# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a model file must tell the robot: thresholds, battery levels, the change of a view.

docs/models.md has the rules in words.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median_high

import cv2
import numpy as np
import numpy.typing as npt

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ModelError
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import Image
from vpr_ros.evaluation.console import TextTable
from vpr_ros.evaluation.image_set import ImageSet
from vpr_ros.evaluation.measured_images import MeasuredImages, OrderedImages
from vpr_ros.evaluation.metrics import rounded_percent
from vpr_ros.evaluation.precision_recall import Judged
from vpr_ros.evaluation.retrieval import network_ms
from vpr_ros.evaluation.search import search

Vectors = npt.NDArray[np.float32]
Describe = Callable[[Sequence[Path], float], Vectors]  # images at one sparsity -> (N, D)

REACHED = 0.99  # share of the right best matches that reach the score threshold
THRESHOLD_STEP = 0.02
THRESHOLDS_AT = (0.0, 0.2, 0.4, 0.6)
LEVELS_AT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
MEDIUM_COST, LOW_COST = 1.0, 3.0  # points of R@1
STILL_IMAGES = 10  # of each set or drive, evenly spread
NOISE, EXPOSURE, QUALITY = 4.0, 0.01, 90  # sigma of 255, sigma, JPEG: a camera indoors


@dataclasses.dataclass(frozen=True)
class Level:
    """What one sparsity costs and saves."""

    sparsity: float
    time: float  # of the network, as a share of that at 0
    in_dense_map: float  # mean R@1 over the sets, %, in a map made at 0
    in_own_map: float  # the same in a map made at this sparsity


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What was found, and as tables for people."""

    calibration: tuple[Calibration, ...]
    levels: tuple[float, ...]  # sparsity of a medium and of a low battery; () without a dial
    change: float  # cosine distance of two views; 0: there was no drive to measure it on
    tables: tuple[TextTable, ...]
    remarks: tuple[str, ...]


def measure_model(
    encoder: Encoder, images: MeasuredImages, tick: Callable[[], None]
) -> Measurements:
    """Measure a model; `tick` is called once per image that it describes.

    Raises ModelError if the model recognises nothing in these images.
    """
    describe = _remembering(encoder, tick)
    first = images.answered[0]
    calibration = thresholds(encoder, first, describe)
    rows = tuple((f"{one.sparsity:g}", f"{one.score_threshold:.2f}") for one in calibration)
    note = f"{REACHED:.0%} of the right best matches in {first.name} reach it."
    tables = [TextTable("Score thresholds", ("sparsity", "score >="), rows, (note,))]
    levels: tuple[float, ...] = ()
    if encoder.contract.sparsity_max:
        sets = images.sets or [unlabelled(one, describe) for one in images.answered]
        found = measure_levels(encoder, sets, describe)
        levels = battery_levels(found)
        tables.append(levels_table(found, levels))
    if not images.drives:
        words = "The change of a view is not measured: give --images a drive (bag or folder), too."
        return Measurements(calibration, levels, 0.0, tuple(tables), (words,))
    lists = [one.database for one in images.sets] + [one.paths for one in images.drives]
    still = median_high(still_distance(encoder, _spread(paths)) for paths in lists)
    moved = moved_distance(describe, images.drives)
    if moved <= still:
        raise ModelError(
            f"Views one step apart in {images.drives[0].name} differ by {moved:.3f} in the "
            f"median, two shots of one view by up to {still:.3f}. Either the robot stands "
            "still, or the network does not look at the places."
        )
    change = change_between(still, moved)
    words = (
        f"A view has changed at a cosine distance of {change:g}: two shots of one view differ by "
        f"at most {still:.3f}, views one step apart by {moved:.3f} in the median."
    )
    return Measurements(calibration, levels, change, tuple(tables), (words,))


def _remembering(encoder: Encoder, tick: Callable[[], None]) -> Describe:
    """Describes the images of a list at one sparsity once."""
    known: dict[tuple[tuple[Path, ...], float], Vectors] = {}

    def describe(paths: Sequence[Path], sparsity: float) -> Vectors:
        key = (tuple(paths), sparsity)
        if key not in known:
            rows = []
            for path in paths:
                rows.append(encoder.encode(read_image(path), sparsity))
                tick()
            known[key] = np.stack(rows)
        return known[key]

    return describe


def _judged(image_set: ImageSet, describe: Describe, sparsity: float, in_map: float) -> Judged:
    """What queries at a sparsity find in a map made at another."""
    queries, places = describe(image_set.queries, sparsity), describe(image_set.database, in_map)
    return image_set.judge(search(queries, places, image_set.searchable))


def unlabelled(image_set: ImageSet, describe: Describe) -> ImageSet:
    """The set of a drive; right is also what at sparsity 0 is as similar as the neighbours.

    The drive may pass a place twice, and nobody has said where.
    """
    scores = describe(image_set.queries, 0.0) @ describe(image_set.database, 0.0).T
    right = tuple(
        np.union1d(own, np.flatnonzero(row >= row[own].max()))
        for own, row in zip(image_set.positives, scores, strict=True)
    )
    return dataclasses.replace(image_set, positives=right)


def thresholds(
    encoder: Encoder, image_set: ImageSet, describe: Describe
) -> tuple[Calibration, ...]:
    """One threshold per sparsity, none above that of a lower sparsity."""
    limit = encoder.contract.sparsity_max
    found: list[Calibration] = []
    for sparsity in sorted({*(s for s in THRESHOLDS_AT if s <= limit), limit}):
        maps = {sparsity, 0.0}
        lowest = min(lowest_right(_judged(image_set, describe, sparsity, m)) for m in maps)
        if math.isnan(lowest):
            raise ModelError(
                f"At sparsity {sparsity:g} not one best match in {image_set.name} is right: "
                f"'{encoder.contract.name}' recognises nothing there, or the images of a folder "
                "are not in the order of a drive."
            )
        score = math.floor(lowest / THRESHOLD_STEP) * THRESHOLD_STEP
        score = min([score, *(c.score_threshold for c in found)])
        found.append(Calibration(sparsity, round(score, 6)))
    return tuple(found)


def lowest_right(judged: Judged) -> float:
    """The score that REACHED of the right best matches reach; NaN if none is right."""
    right = judged.ranked.scores[judged.hits[:, 0], 0]
    return float(np.quantile(right, 1 - REACHED, method="lower")) if len(right) else math.nan


def measure_levels(
    encoder: Encoder, sets: Sequence[ImageSet], describe: Describe
) -> tuple[Level, ...]:
    """Every sparsity of LEVELS_AT that the model has, from 0 on."""
    steps = [s for s in LEVELS_AT if s <= encoder.contract.sparsity_max]
    times = network_ms(encoder, read_image(sets[0].queries[0]), steps)

    def mean_recall(sparsity: float, in_map: float) -> float:
        found = [_judged(one, describe, sparsity, in_map).recall_at(1) for one in sets]
        return 100 * float(np.mean(found))

    return tuple(
        Level(s, time / times[0], mean_recall(s, 0.0), mean_recall(s, s))
        for s, time in zip(steps, times, strict=True)
    )


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


def levels_table(found: Sequence[Level], levels: tuple[float, float]) -> TextTable:
    """What each sparsity costs and saves, and the levels below."""
    rows = tuple(
        (
            f"{one.sparsity:g}",
            f"{one.time:.2f}",
            rounded_percent(one.in_dense_map / 100),
            rounded_percent(one.in_own_map / 100),
        )
        for one in found
    )
    headings = ("sparsity", "time", "map at 0\nR@1, %", "map at the same\nR@1, %")
    note = f"Battery levels: medium {levels[0]:g}, low {levels[1]:g}."
    return TextTable("What sparsity costs and saves", headings, rows, (note,))


def change_between(still: float, moved: float) -> float:
    """The change of a view between the two distances: their geometric mean, to one digit."""
    return float(f"{math.sqrt(still * moved):.1g}")


def _spread(paths: Sequence[Path]) -> list[Image]:
    step = max(1, len(paths) // STILL_IMAGES)
    return [read_image(path) for path in paths[::step][:STILL_IMAGES]]


def still_distance(encoder: Encoder, images: Sequence[Image]) -> float:
    """The largest cosine distance of two shots of one image, at both ends of the dial."""
    random = np.random.default_rng(0)
    found = []
    for sparsity in sorted({0.0, encoder.contract.sparsity_max}):
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


def moved_distance(describe: Describe, drives: Sequence[OrderedImages]) -> float:
    """The median cosine distance of neighbouring views."""
    distances = []
    for drive in drives:
        seen = describe(drive.paths, 0.0)
        distances.append(1.0 - (seen[1:] * seen[:-1]).sum(axis=1))
    return float(np.median(np.concatenate(distances)))
