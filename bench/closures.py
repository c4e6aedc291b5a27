# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Closures right, wrong and missed, with every gate on and the default parameters.

python -m bench.closures mobilenetv2-gem tat-vpr-s --data ../shared/data

Each set is driven through Encoder, FeatureExtractor and LoopDetector as on the robot. The interval
of the right ones is a 95 % bootstrap over blocks of ten queries in a row.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from bench.closure_sets import (
    ClosureSet,
    View,
    campus_robot,
    corridor,
    ie_tower,
    rtabmap_samples,
)
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import VprError
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.image_files import read_image
from vpr_ros.core.keyframe import Keyframe, LocalFeatures
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.image_changes import CHANGES

BLOCK = 10  # queries; neighbours in time share their fate
DRAWS = 2000

Look = Callable[[View, int], Keyframe]  # of a view, with an id


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one judged query."""

    possible: bool  # a right keyframe could be found
    closed: bool
    right: bool


def outcomes(case: ClosureSet, look: Look, ask: Look, config: LoopConfig) -> list[Outcome]:
    """The outcomes of a set; `look` makes the map's keyframes, `ask` those of the queries."""
    database = Database(DatabaseConfig())
    for number, view in enumerate(case.map):
        database.add(look(view, number))
    detector = LoopDetector(config, database)
    found = []
    for row, view in enumerate(case.queries):
        keyframe = ask(view, len(case.map) + row)
        if not case.walk:
            detector = LoopDetector(config, database)
        searchable = database.search_older(keyframe.descriptor, keyframe.stamp_ns, len(database))
        possible = any(case.right[row, c.place.id] for c in searchable if c.place.id >= 0)
        query = detector.process(keyframe)
        if case.judged[row]:
            closure = query.closure
            right = closure is not None and bool(case.right[row, closure.match.id])
            found.append(Outcome(possible, closure is not None, right))
    return found


def row(name: str, found: list[Outcome]) -> str:
    """One line of the table."""
    possible = sum(o.possible for o in found)
    right = np.array([o.right for o in found], float)
    wrong = sum(o.closed and not o.right for o in found)
    low, high = _interval(right, np.array([o.possible for o in found], float))
    share = f"{100 * right.sum() / possible:.0f} [{low:.0f}, {high:.0f}]" if possible else "-"
    return (
        f"| {name} | {len(found)} | {possible} | {right.sum():.0f} | {wrong} "
        f"| {possible - right.sum():.0f} | {share} |"
    )


def _interval(right: np.ndarray, possible: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the share of right closures [%]."""
    starts = np.arange(0, len(right), BLOCK)
    sums = np.array([(right[s : s + BLOCK].sum(), possible[s : s + BLOCK].sum()) for s in starts])
    draws = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    drawn = sums[draws].sum(axis=1)
    shares = 100 * drawn[:, 0] / np.maximum(drawn[:, 1], 1)
    low, high = np.percentile(shares, (2.5, 97.5))
    return float(low), float(high)


def looker(encoder: Encoder, change: Callable[[np.ndarray], np.ndarray] | None = None) -> Look:
    """Keyframes of views, after a change of the image."""
    extractor = FeatureExtractor(FeatureConfig())

    @functools.cache  # a map without one floor shares its images with the next
    def seen(path: Path) -> tuple[np.ndarray, LocalFeatures | None]:
        pixels = read_image(path)
        pixels = pixels if change is None else change(pixels)
        return encoder.encode(pixels), extractor.extract(pixels)

    def look(view: View, number: int) -> Keyframe:
        return view.keyframe(number, encoder.contract, *seen(view.image))

    return look


def sets(data: Path) -> Iterable[tuple[str, list[ClosureSet]]]:
    """All sets by name; those of one name are counted together."""
    for case in (rtabmap_samples(data), corridor(data), campus_robot(data)):
        yield case.name, [case]
    for mapped in (True, False):
        found = list(ie_tower(data, mapped))
        yield found[0].name, found


def main() -> int:
    """Print a table per model; 0 unless an input is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="names or paths of models")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--precision", type=float, default=LoopConfig().precision)
    options = parser.parse_args()
    try:
        config = LoopConfig(precision=options.precision)
        for model in options.models:
            encoder = Encoder(find_model(model))
            print(f"\n{encoder.contract.name}, loop.precision {config.precision:g}\n")
            print("| set | queries | in the map | right | wrong | missed | right, % |")
            print("|:---|" + "---:|" * 6)
            look = looker(encoder)
            for name, cases in sets(options.data):
                found = [o for case in cases for o in outcomes(case, look, look, config)]
                print(row(name, found), flush=True)
            laps = rtabmap_samples(options.data)
            for change in CHANGES:
                ask = changed_after(laps, look, looker(encoder, change.apply))
                found = outcomes(laps, look, ask, config)
                print(row(f"{laps.name}, later laps {change.name}", found), flush=True)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def changed_after(case: ClosureSet, look: Look, other: Look, first: int = 40) -> Look:
    """The first lap as taken, the later ones changed."""
    return lambda view, number: (look if number < first else other)(view, number)


if __name__ == "__main__":
    sys.exit(main())
