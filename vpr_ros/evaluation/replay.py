# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drives a bag through the very objects of the nodes: Frontend, Database, LoopDetector."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import DescriptorError, ImageError
from vpr_ros.core.frontend import Frontend
from vpr_ros.core.gate import KeyframeGate
from vpr_ros.core.keyframe import NS_PER_S, Keyframe
from vpr_ros.core.loop_detector import LoopConfig, LoopDetector, Reason
from vpr_ros.core.verifier import FeatureExtractor
from vpr_ros.evaluation.images import Shot
from vpr_ros.evaluation.params import Settings


@dataclasses.dataclass(frozen=True)
class Seen:
    """A keyframe and the image it came from."""

    number: int  # of the image in its topic
    recorded_ns: int
    keyframe: Keyframe  # its id counts from 0
    encode_ms: float


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the detector said to one keyframe; places are keyframes counted from 0."""

    number: int
    recorded_ns: int
    stamp_ns: int
    session: int
    encode_ms: float
    search_ms: float  # search, gates and update
    reason: Reason
    message: str
    best: int | None  # the best older place, before the gates
    score: float  # of the best; NaN without one
    margin: float  # lead over the best of another place; infinity if there was none
    match: int | None  # of the closure
    inliers: int | None


class Eyes:
    """The encoder node without ROS: turns shots into keyframes, and counts what is bad."""

    def __init__(self, encoder: Encoder, settings: Settings) -> None:
        """Run `encoder` with these settings; ConfigError if it cannot run at their sparsity."""
        encoder.check_sparsity(settings.model.sparsity)
        self.images = 0
        self.problems = 0
        self.first_problem = ""
        self._sparsity = settings.model.sparsity
        self._frontend = Frontend(
            encoder, KeyframeGate(settings.gate), FeatureExtractor(settings.features)
        )

    def look(self, shot: Shot) -> Seen | None:
        """The keyframe of an image; None if it is not worth one or cannot be used."""
        self.images += 1
        try:
            if shot.frame.stamp_ns == 0:
                raise ImageError("Image has no stamp. Let the camera driver set header.stamp.")
            keyframe = self._frontend.process(shot.frame, self._sparsity)
        except (ImageError, DescriptorError) as error:
            self.problems += 1
            self.first_problem = self.first_problem or str(error)
            return None
        if keyframe is None:
            return None
        return Seen(shot.number, shot.recorded_ns, keyframe, self._frontend.encode_s * 1e3)


class Memory:
    """The database node without ROS: answers keyframes, and keeps the descriptors to judge."""

    def __init__(self, loop: LoopConfig, database: DatabaseConfig) -> None:
        """Empty."""
        self.database = Database(database)
        self.answers: list[Answer] = []
        self._detector = LoopDetector(loop, self.database)
        self._descriptors: list[npt.NDArray[np.float32]] = []
        self._precision = database.precision

    def ask(self, seen: Seen) -> Answer:
        """What the detector says to the next keyframe."""
        started = time.perf_counter()
        query = self._detector.process(seen.keyframe)
        search_ms = (time.perf_counter() - started) * 1e3
        closure = query.closure
        verification = closure.verification if closure else None
        answer = Answer(
            number=seen.number,
            recorded_ns=seen.recorded_ns,
            stamp_ns=seen.keyframe.stamp_ns,
            session=query.place.session,
            encode_ms=seen.encode_ms,
            search_ms=search_ms,
            reason=query.reason,
            message=query.message,
            best=query.candidates[0].place.id if query.candidates else None,
            score=query.candidates[0].score if query.candidates else math.nan,
            margin=query.margin,
            match=closure.match.id if closure else None,
            inliers=verification.inliers if verification else None,
        )
        self.answers.append(answer)
        # As the database keeps them, so that every search sees the same values.
        self._descriptors.append(seen.keyframe.descriptor.astype(self._precision))
        return answer

    @property
    def descriptors(self) -> npt.NDArray[np.floating]:
        """(N, D) of all keyframes, in the database's precision."""
        return np.array(self._descriptors).reshape(len(self.answers), -1)


def keyframes(shots: Iterator[Shot], eyes: Eyes) -> Iterator[Seen]:
    """The keyframes among the images."""
    for shot in shots:
        seen = eyes.look(shot)
        if seen is not None:
            yield seen


def first_recent(answers: list[Answer], config: DatabaseConfig) -> npt.NDArray[np.int64]:
    """For each keyframe, the first that was too fresh for it to be a loop (N,).

    The rule of Database.search_older: fresh is what is younger than exclude_recent_s, or among
    the last exclude_recent_keyframes, in one stretch of rising time.
    """
    stamps = np.array([a.stamp_ns for a in answers], np.int64)
    sessions = np.array([a.session for a in answers], np.int64)
    limits = np.empty(len(answers), np.int64)
    for session in np.unique(sessions):
        own = np.flatnonzero(sessions == session)
        start = own[0]
        oldest = stamps[own] - int(config.exclude_recent_s * NS_PER_S)
        by_time = start + np.searchsorted(stamps[own], oldest)
        by_count = np.maximum(start, own - config.exclude_recent_keyframes)
        limits[own] = np.minimum(by_time, by_count)
    return limits
