# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One evaluation of a bag, from the first image to the judgement."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.bag import Bag, BagError
from vpr_ros.evaluation.images import Shot, Topics, choose_topics, shots
from vpr_ros.evaluation.judge import Judgement, judge
from vpr_ros.evaluation.neighbours import find_neighbours
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.progress import Progress
from vpr_ros.evaluation.replay import Answer, Eyes, Memory, first_recent, keyframes
from vpr_ros.evaluation.truth import LoopRule, Truth
from vpr_ros.evaluation.truth_source import TruthSource, find_truth


@dataclasses.dataclass(frozen=True)
class Request:
    """What to evaluate, and by which truth; "" leaves the choice to the bag."""

    bag: Path
    settings: Settings = dataclasses.field(default_factory=Settings)
    rule: LoopRule = dataclasses.field(default_factory=LoopRule)
    image: str = ""  # topic
    odometry: str = ""  # topic for the gate
    truth: str = ""  # topic or file
    truth_frame: str = ""  # of tf


@dataclasses.dataclass(frozen=True)
class BagRun:
    """A bag that was driven through the nodes' objects, and judged."""

    request: Request
    topics: Topics
    truth_text: str
    truth: Truth
    answers: list[Answer]
    descriptors: npt.NDArray[np.floating]  # (N, D)
    limits: npt.NDArray[np.int64]  # (N,) first keyframe too fresh to be a loop
    judgement: Judgement
    model: str
    model_path: Path
    score_threshold: float  # of the score gate
    images: int
    problems: int
    first_problem: str
    bytes_per_keyframe: float
    evicted: int
    duration_s: float  # of the bag
    replay_s: float  # reading, encoding, searching
    judge_s: float
    peak_memory_mb: float

    @property
    def settings(self) -> Settings:
        """The nodes' parameters."""
        return self.request.settings

    def seconds(self, index: int) -> float:
        """Of a keyframe, since the first."""
        return (self.answers[index].stamp_ns - self.answers[0].stamp_ns) * 1e-9


def evaluate_bag(bag: Bag, request: Request, progress: Progress) -> BagRun:
    """Run it. Raises a VprError that says what is wrong with bag, truth, model or settings."""
    settings = request.settings
    encoder = Encoder(find_model(settings.model.model), settings.model.threads)
    topics = choose_topics(bag, request.image, request.odometry)
    source = find_truth(bag, request.truth, request.rule, topics.odometry, request.truth_frame)
    eyes, memory = Eyes(encoder, settings), Memory(settings.loop, settings.database)
    started = time.perf_counter()
    for seen in keyframes(counted(bag, topics, progress), eyes):
        memory.ask(seen)
    replay_s = time.perf_counter() - started
    require_keyframes(eyes, bag, topics)
    progress.say("Judging")
    started = time.perf_counter()
    truth = truth_of(source, memory.answers)
    limits = first_recent(memory.answers, settings.database)
    descriptors = memory.descriptors
    neighbours = find_neighbours(descriptors, limits, truth)
    contract = encoder.contract
    return BagRun(
        request=request,
        topics=topics,
        truth_text=source.text,
        truth=truth,
        answers=memory.answers,
        descriptors=descriptors,
        limits=limits,
        judgement=judge(memory.answers, truth, neighbours),
        model=f"{contract.name}, version {contract.version}",
        model_path=encoder.path,
        score_threshold=score_threshold(encoder, settings),
        images=eyes.images,
        problems=eyes.problems,
        first_problem=eyes.first_problem,
        bytes_per_keyframe=memory.database.bytes_per_keyframe,
        evicted=memory.database.evicted,
        duration_s=bag.duration_s,
        replay_s=replay_s,
        judge_s=time.perf_counter() - started,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    )


def counted(bag: Bag, topics: Topics, progress: Progress) -> Iterator[Shot]:
    """The images of a bag, each one a step of the progress bar."""
    progress.start(f"Replaying {bag.path.name}", bag.counts[topics.image])
    for shot in shots(bag, topics):
        yield shot
        progress.step()


def require_keyframes(eyes: Eyes, bag: Bag, topics: Topics) -> None:
    """Raise BagError if no image could be used."""
    if eyes.images == eyes.problems:
        raise BagError(
            f"No image of {topics.image} in {bag.path} can be used: "
            f"{eyes.first_problem or 'the topic is empty.'}"
        )


def truth_of(source: TruthSource, answers: list[Answer]) -> Truth:
    """The truth of the keyframes that were answered."""
    return source.of(
        np.array([a.stamp_ns for a in answers], np.int64),
        np.array([a.number for a in answers], np.int64),
    )


def score_threshold(encoder: Encoder, settings: Settings) -> float:
    """Of the score gate: the user's, or the model's own at this sparsity."""
    sparsity = settings.model.sparsity
    own = encoder.contract.calibration_at(sparsity)
    name = encoder.contract.name
    return settings.loop.calibration_at(sparsity, own, name).score_threshold
