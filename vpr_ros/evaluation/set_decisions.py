# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the loop detector closes on a data set, by all the evidence but odometry."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ImageError
from vpr_ros.core.feature_extractor import FeatureConfig, FeatureExtractor
from vpr_ros.core.image_files import read_image
from vpr_ros.core.keyframe import NS_PER_S, Keyframe
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.evaluation.image_set import ImageSet
from vpr_ros.evaluation.metrics import rounded_percent

MOST_IMAGES = 3000  # whose local features are held in memory, 44 kB each
NUMBERS = 1 << 40  # ids: from here on the map's images, from twice this on the queries
HOUR_S = 3600.0


@dataclasses.dataclass(frozen=True)
class Decision:
    """What became of one query; images by their number in the set."""

    query: int
    outcome: Outcome
    match: int | None  # of the closure; without one, the most similar image
    score: float  # cosine of query and match; NaN without
    message: str
    true: int | None  # a right image


@dataclasses.dataclass(frozen=True)
class Decisions:
    """What the loop detector closes with a model; NaN where there is nothing to close."""

    model: str
    found: tuple[Decision, ...]  # in the order of the queries

    def of(self, outcome: Outcome) -> list[Decision]:
        """The queries of this outcome, the most similar first."""
        chosen = [d for d in self.found if d.outcome is outcome]
        return sorted(chosen, key=lambda d: math.isnan(d.score) or -d.score)

    @property
    def answerable(self) -> int:
        """Queries that have a right image."""
        return sum(d.true is not None for d in self.found)

    @property
    def closed(self) -> float:
        """Right closures / answerable queries."""
        return len(self.of(Outcome.RIGHT)) / self.answerable if self.answerable else math.nan

    def text(self) -> str:
        """As a cell of the table."""
        return f"{rounded_percent(self.closed)}, {len(self.of(Outcome.WRONG))} wrong"

    def numbers(self) -> dict[str, int]:
        """For metrics.json."""
        right, wrong = (len(self.of(kind)) for kind in (Outcome.RIGHT, Outcome.WRONG))
        return {"answerable": self.answerable, "right": right, "wrong": wrong}


def decide(
    image_set: ImageSet, encoder: Encoder, tick: Callable[[], None] = lambda: None
) -> Decisions | None:
    """Ask for every query, sparsity 0, default parameters; None if there are over MOST_IMAGES.

    The queries of drives are asked one after the other, others each on its own. None of them is a
    candidate for another one. `tick` is called once per image. Files that cannot be read are left
    out.
    """
    if image_set.size > MOST_IMAGES:
        return None
    look = _Looker(encoder)
    # The queries are of one run, and lie in one hour.
    config = DatabaseConfig(
        max_keyframes=image_set.size + 4,
        max_mb=10**6,
        exclude_recent_s=HOUR_S,
        exclude_recent_keyframes=1,
    )
    database = Database(config)
    detector = LoopDetector(LoopConfig(), database)
    limits = image_set.searchable
    order = range(len(image_set.queries)) if limits is None else np.argsort(limits, kind="stable")
    mapped, asked, found = 0, 0, []
    for query in map(int, order):
        limit = len(image_set.database) if limits is None else int(limits[query])
        for number in range(mapped, limit):
            keyframe = look(image_set.database[number], NUMBERS + number, number * NS_PER_S)
            tick()
            if keyframe is not None:
                database.add(keyframe)
        mapped = max(mapped, limit)
        tick()
        if not asked:  # the first of a run takes the image before it for its own past
            first = look(image_set.queries[query], 2 * NUMBERS, NS_PER_S)
            if first is None:
                continue
            database.add(first)
        asked += 1
        keyframe = look(image_set.queries[query], 2 * NUMBERS + asked, NS_PER_S + asked)
        if keyframe is None:
            continue
        if image_set.query_frames is None:
            detector = LoopDetector(LoopConfig(), database)
        answer = detector.process(keyframe)
        right = image_set.positives[query]
        true = int(right[0]) if len(right) else None
        match, score, outcome = None, math.nan, Outcome.NEW if true is None else Outcome.MISSED
        if answer.closure is not None:
            match, score = answer.closure.match.id - NUMBERS, answer.closure.score
            outcome = Outcome.RIGHT if match in right else Outcome.WRONG
        elif answer.candidates:
            match, score = answer.candidates[0].place.id - NUMBERS, answer.candidates[0].score
        message = re.sub(
            r"keyframe (\d+)", lambda id: f"image {int(id[1]) - NUMBERS}", answer.message
        )
        found.append(Decision(query, outcome, match, score, message, true))
    found.sort(key=lambda decision: decision.query)
    return Decisions(encoder.contract.name, tuple(found))


class _Looker:
    """Makes keyframes of files, as the encoder node does at sparsity 0."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.extractor = FeatureExtractor(FeatureConfig())

    def __call__(self, file: Path, id: int, stamp_ns: int) -> Keyframe | None:
        """None if the file cannot be read."""
        contract = self.encoder.contract
        try:
            image = read_image(file)
        except ImageError:
            return None
        return Keyframe(
            id=id,
            stamp_ns=stamp_ns + 1,
            model=contract.name,
            sparsity=0.0,
            descriptor=self.encoder.encode(image),
            features=self.extractor.extract(image),
            calibration=contract.calibration_at(0.0),
        )
