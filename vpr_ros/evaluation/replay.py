# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a bag through the objects of the nodes: Frontend, Database, LoopDetector."""

from __future__ import annotations

import dataclasses
import importlib
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.closure_picture import closure_picture
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, DescriptorError, ImageError
from vpr_ros.core.feature_extractor import FeatureExtractor
from vpr_ros.core.frontend import Frontend
from vpr_ros.core.gate import KeyframeGate
from vpr_ros.core.keyframe import Keyframe
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector, Query, Reason
from vpr_ros.evaluation.bag import Bag, BagError, Topics, bag_images
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.truth import LoopRule


@dataclasses.dataclass(frozen=True)
class Request:
    """What to evaluate, and against which truth; "" leaves the choice to the bag."""

    bag: Path
    settings: Settings = dataclasses.field(default_factory=Settings)
    rule: LoopRule = dataclasses.field(default_factory=LoopRule)
    image: str = ""  # topic
    odometry: str = ""  # topic for the keyframe gate
    truth: str = ""  # topic or file
    truth_frame: str = ""  # of tf
    rerun: Path | None = None  # file for the Rerun viewer


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
    best: int | None = None  # the most similar older keyframe, before the decision
    score: float = math.nan  # of the best; NaN without one
    margin: float = math.nan  # lead over the best of another place; infinity if there was none
    match: int | None = None  # of the closure
    inliers: int | None = None  # of the closure
    confidence: float = math.nan  # of the closure
    session: int = 0
    number: int = 0  # of the image in its topic
    recorded_ns: int = 0  # of the image
    encode_ms: float = math.nan
    search_ms: float = math.nan  # search, decision and update


class EncoderReplay:
    """The encoder node without ROS: turns images into keyframes and counts the bad ones."""

    def __init__(self, encoder: Encoder, settings: Settings, thumbnail: int = 0) -> None:
        """ConfigError if `encoder` cannot run at the sparsity of the settings."""
        encoder.check_sparsity(settings.model.sparsity)
        self.images = 0
        self.problems = 0
        self.first_problem = ""
        self._sparsity = settings.model.sparsity
        self._frontend = Frontend(
            encoder,
            KeyframeGate(settings.gate),
            FeatureExtractor(settings.features),
            settings.view,
        )
        self._frontend.thumbnail = thumbnail  # longer side [px]

    def keyframes(self, bag: Bag, topics: Topics, progress: Progress) -> Iterator[EncodedImage]:
        """The keyframes among a bag's images; BagError at the end if no image could be used."""
        progress.begin(f"Replaying {bag.path.name}", bag.counts[topics.image])
        made = 0
        for image in bag_images(bag, topics):
            self.images += 1
            progress.step()
            refused = self._frontend.view_faults.total()
            try:
                if image.frame.stamp_ns <= 0:
                    raise ImageError("Image has no stamp. Let the camera driver set header.stamp.")
                keyframe = self._frontend.process(image.frame, self._sparsity)
            except (ImageError, DescriptorError) as error:
                self._skip(str(error))
                continue
            fault = self._frontend.view_fault
            if fault is not None and self._frontend.view_faults.total() > refused:
                self._skip(fault.value)
            if keyframe is not None:
                made += 1
                encode_ms = self._frontend.encode_s * 1e3
                yield EncodedImage(image.number, image.recorded_ns, keyframe, encode_ms)
        if not made:
            raise BagError(
                f"No image of {topics.image} in {bag.path} can be used: "
                f"{self.first_problem or 'the topic is empty.'}"
            )

    def _skip(self, why: str) -> None:
        self.problems += 1
        self.first_problem = self.first_problem or why


@dataclasses.dataclass(frozen=True)
class DatabaseReplay:
    """What the database node answers to keyframes, without ROS."""

    answers: list[Answer]  # N
    descriptors: npt.NDArray[np.floating]  # (N, D) as the database stores them
    database: Database


class Recording:
    """A file for the Rerun viewer: camera, answers, places, and the picture of each closure."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError without rerun-sdk, or if the file cannot be written."""
        try:
            self._rerun: Any = importlib.import_module("rerun")
            self._file = self._rerun.RecordingStream("vpr_ros")
            self._file.save(path)
        except ImportError:
            raise ConfigError(
                "--rerun needs rerun-sdk. Run: pip install rerun-sdk (Python 3.11 or newer, "
                "NumPy 2)."
            ) from None
        except Exception as error:
            raise ConfigError(f"--rerun: {path} cannot be written ({error}).") from None

    def add(self, keyframe: Keyframe, query: Query) -> None:
        """Log a keyframe and the answer to it."""
        rerun, file, closure = self._rerun, self._file, query.closure
        file.set_time("stamp", timestamp=np.datetime64(keyframe.stamp_ns, "ns"))
        file.set_time("keyframe", sequence=keyframe.id)
        if keyframe.thumbnail:
            jpeg = keyframe.thumbnail.jpeg
            file.log("camera", rerun.EncodedImage(contents=jpeg, media_type="image/jpeg"))
        file.log("answer", rerun.TextLog(f"{query.reason.name}: {query.message}"))
        places = [query.place, *([closure.match] if closure else [])]
        ends = [(p.pose.x, p.pose.y, p.pose.z) for p in places if p.pose is not None]
        if ends:
            file.log(f"map/keyframes/{keyframe.id}", rerun.Points3D(ends[:1], radii=0.1))
        if closure is not None:
            file.log("confidence", rerun.Scalars(closure.confidence))
            picture = closure_picture(
                query.place, closure.match, closure.verification, query.message, True
            )
            shown = rerun.Image(picture, color_model="BGR").compress(jpeg_quality=85)
            file.log("closure", shown)
            if query.place.is_connected(closure.match):
                file.log(f"map/closures/{keyframe.id}", rerun.LineStrips3D([ends]))


def replay_database(
    keyframes: Iterable[EncodedImage],
    loop: LoopConfig,
    config: DatabaseConfig,
    recording: Recording | None = None,
) -> DatabaseReplay:
    """The detector's answers to keyframes, one after another."""
    database = Database(config)
    detector = LoopDetector(loop, database)
    answers, descriptors = [], []
    for encoded in keyframes:
        started = time.perf_counter()
        query = detector.process(encoded.keyframe)
        search_ms = (time.perf_counter() - started) * 1e3
        if recording is not None:
            recording.add(encoded.keyframe, query)
        closure = query.closure
        verification = closure.verification if closure else None
        answers.append(
            Answer(
                stamp_ns=encoded.keyframe.stamp_ns,
                reason=query.reason,
                message=query.message,
                best=query.candidates[0].place.id if query.candidates else None,
                score=query.candidates[0].score if query.candidates else math.nan,
                margin=query.margin,
                match=closure.match.id if closure else None,
                inliers=verification.inliers if verification else None,
                confidence=closure.confidence if closure else math.nan,
                session=query.place.session,
                number=encoded.number,
                recorded_ns=encoded.recorded_ns,
                encode_ms=encoded.encode_ms,
                search_ms=search_ms,
            )
        )
        # In its precision, so that every search sees the same values.
        descriptors.append(encoded.keyframe.descriptor.astype(config.precision))
    return DatabaseReplay(answers, np.array(descriptors).reshape(len(answers), -1), database)
