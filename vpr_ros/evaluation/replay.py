# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a bag through the objects of the nodes: Frontend, Database, LoopDetector."""

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
from vpr_ros.core.keyframe import Keyframe
from vpr_ros.core.loop_detector import LoopConfig, LoopDetector, Reason
from vpr_ros.core.verifier import FeatureExtractor
from vpr_ros.evaluation.bag import Bag, BagError, BagImage, Topics, bag_images
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.params import Settings


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """A keyframe and the image it came from."""

    number: int  # of the image in its topic
    recorded_ns: int
    keyframe: Keyframe  # ids count from 0
    encode_ms: float


@dataclasses.dataclass(frozen=True)
class Answer:
    """The detector's answer to one keyframe; other keyframes by their number, from 0."""

    stamp_ns: int
    reason: Reason
    message: str = ""
    best: int | None = None  # the most similar older keyframe, before the gates
    score: float = math.nan  # of the best; NaN without one
    margin: float = math.nan  # lead over the best of another place; infinity if there was none
    match: int | None = None  # of the closure
    inliers: int | None = None  # of the closure
    session: int = 0
    number: int = 0  # of the image in its topic
    recorded_ns: int = 0  # of the image
    encode_ms: float = math.nan
    search_ms: float = math.nan  # search, gates and update


class EncoderReplay:
    """The encoder node without ROS: turns images into keyframes and counts the bad ones."""

    def __init__(self, encoder: Encoder, settings: Settings) -> None:
        """ConfigError if `encoder` cannot run at the sparsity of the settings."""
        encoder.check_sparsity(settings.model.sparsity)
        self.images = 0
        self.problems = 0
        self.first_problem = ""
        self._sparsity = settings.model.sparsity
        self._frontend = Frontend(
            encoder, KeyframeGate(settings.gate), FeatureExtractor(settings.features)
        )

    def encode(self, image: BagImage) -> EncodedImage | None:
        """The keyframe of an image; None if it is not worth one or cannot be used."""
        self.images += 1
        try:
            if image.frame.stamp_ns == 0:
                raise ImageError("Image has no stamp. Let the camera driver set header.stamp.")
            keyframe = self._frontend.process(image.frame, self._sparsity)
        except (ImageError, DescriptorError) as error:
            self.problems += 1
            self.first_problem = self.first_problem or str(error)
            return None
        if keyframe is None:
            return None
        encode_ms = self._frontend.encode_s * 1e3
        return EncodedImage(image.number, image.recorded_ns, keyframe, encode_ms)

    def keyframes(self, bag: Bag, topics: Topics, progress: Progress) -> Iterator[EncodedImage]:
        """The keyframes among a bag's images; BagError at the end if no image could be used."""
        progress.start(f"Replaying {bag.path.name}", bag.counts[topics.image])
        for image in bag_images(bag, topics):
            encoded = self.encode(image)
            if encoded is not None:
                yield encoded
            progress.step()
        if self.images == self.problems:
            raise BagError(
                f"No image of {topics.image} in {bag.path} can be used: "
                f"{self.first_problem or 'the topic is empty.'}"
            )


class DatabaseReplay:
    """The database node without ROS: answers keyframes and keeps all descriptors."""

    def __init__(self, loop: LoopConfig, database: DatabaseConfig) -> None:
        self.database = Database(database)
        self.answers: list[Answer] = []
        self._detector = LoopDetector(loop, self.database)
        self._descriptors: list[npt.NDArray[np.floating]] = []

    def answer(self, encoded: EncodedImage) -> Answer:
        """The detector's answer to the next keyframe."""
        started = time.perf_counter()
        query = self._detector.process(encoded.keyframe)
        search_ms = (time.perf_counter() - started) * 1e3
        closure = query.closure
        verification = closure.verification if closure else None
        answer = Answer(
            stamp_ns=encoded.keyframe.stamp_ns,
            reason=query.reason,
            message=query.message,
            best=query.candidates[0].place.id if query.candidates else None,
            score=query.candidates[0].score if query.candidates else math.nan,
            margin=query.margin,
            match=closure.match.id if closure else None,
            inliers=verification.inliers if verification else None,
            session=query.place.session,
            number=encoded.number,
            recorded_ns=encoded.recorded_ns,
            encode_ms=encoded.encode_ms,
            search_ms=search_ms,
        )
        self.answers.append(answer)
        # As the database stores them, so that every search sees the same values.
        precision = self.database.config.precision
        self._descriptors.append(encoded.keyframe.descriptor.astype(precision))
        return answer

    @property
    def descriptors(self) -> npt.NDArray[np.floating]:
        """(N, D) of all keyframes, in the database's precision."""
        return np.array(self._descriptors).reshape(len(self.answers), -1)
