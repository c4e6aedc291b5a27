# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a model must beat on a bag: the baselines, on its very keyframes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.images import Image
from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.baselines.bag_of_words import OrbBagOfWords
from vpr_ros.evaluation.baselines.sequence import SequenceRanking
from vpr_ros.evaluation.images import Topics, pictures, shots
from vpr_ros.evaluation.methods import BASELINES, Method, baseline_models, open_method
from vpr_ros.evaluation.neighbours import Neighbours, find_neighbours
from vpr_ros.evaluation.progress import Progress
from vpr_ros.evaluation.standing import Standing, standing

SEQUENCE = 10  # keyframes; 0: no sequence matching
LONGEST = 3000  # keyframes whose difference matrix is held at once, about half a gigabyte


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All methods, the model first."""

    standings: tuple[Standing, ...]
    notes: tuple[str, ...]  # what was left out, and why


class Pictures(Sequence[Image]):
    """The images of a bag's keyframes; each is read when it is asked for."""

    def __init__(self, bag: Bag, topic: str, recorded_ns: Sequence[int]) -> None:
        """`bag` is open; the times are those of recording."""
        self._bag, self._topic, self._recorded_ns = bag, topic, recorded_ns

    def __len__(self) -> int:
        return len(self._recorded_ns)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> Pictures: ...

    def __getitem__(self, index: int | slice) -> Image | Pictures:
        if isinstance(index, slice):
            return Pictures(self._bag, self._topic, self._recorded_ns[index])
        when_ns = self._recorded_ns[index]
        return pictures(self._bag, self._topic, {when_ns})[when_ns]


@dataclasses.dataclass(frozen=True)
class _Described:
    """The keyframes as one method sees them."""

    name: str
    descriptors: npt.NDArray[np.floating]  # (N, D), as the database keeps them
    encode_ms: list[float]  # (N)


def compare(run: BagRun, bag: Bag, sequence: int, progress: Progress) -> Comparison:
    """The model and all baselines, each also by sequences of so many keyframes, 0: not."""
    notes: list[str] = []
    methods: list[Method] = []
    images = Pictures(bag, run.topics.image, [a.recorded_ns for a in run.answers])
    beside = [open_method(name) for name in (*baseline_models([str(run.model_path)]), *BASELINES)]
    for method in beside:
        name = method.name
        progress.say(f"Preparing {name}")
        try:
            method.learn(images)
        except ConfigError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        methods.append(method)
        if name == OrbBagOfWords.name:
            notes.append(f"{name} has trained its vocabulary on this very bag.")
    if sequence and len(run.answers) > LONGEST:
        notes.append(f"Sequences are left out: more than {LONGEST} keyframes.")
        sequence = 0
    name = run.model.split(",")[0]
    model = _Described(name, run.descriptors, [a.encode_ms for a in run.answers])
    standings = []
    for described in (model, *_describe(run, bag, methods, progress)):
        progress.say(f"Judging {described.name}")
        standings += _standings(described, run, sequence)
    return Comparison(tuple(standings), tuple(notes))


def _describe(
    run: BagRun, bag: Bag, methods: Sequence[Method], progress: Progress
) -> list[_Described]:
    """All methods in one pass over the bag."""
    found: list[list[npt.NDArray[np.floating]]] = [[] for _ in methods]
    took_ms: list[list[float]] = [[] for _ in methods]
    progress.start("Baselines", len(run.answers))
    for image in _keyframe_images(run, bag):
        for method, descriptors, times in zip(methods, found, took_ms, strict=True):
            started = time.perf_counter()
            descriptor = method.describe(image)
            times.append((time.perf_counter() - started) * 1e3)
            descriptors.append(descriptor.astype(run.descriptors.dtype))
        progress.step()
    return [
        _Described(method.name, np.stack(descriptors), times)
        for method, descriptors, times in zip(methods, found, took_ms, strict=True)
    ]


def _keyframe_images(run: BagRun, bag: Bag) -> Iterator[Image]:
    wanted = {answer.number for answer in run.answers}
    for shot in shots(bag, Topics(run.topics.image, "", "")):
        if shot.number in wanted:
            yield shot.frame.decode()


def _standings(described: _Described, run: BagRun, sequence: int) -> Iterator[Standing]:
    truth, descriptors = run.truth, described.descriptors
    neighbours = find_neighbours(descriptors, run.limits, truth)
    yield standing(described.name, neighbours, truth, described.encode_ms, descriptors)
    if sequence:
        along = _by_sequence(descriptors, run, neighbours, sequence)
        yield standing(
            described.name, along, truth, described.encode_ms, descriptors, sequence=sequence
        )


def _by_sequence(
    descriptors: npt.NDArray[np.floating], run: BagRun, single: Neighbours, length: int
) -> Neighbours:
    """What SeqSLAM finds: each keyframe with those before it."""
    started = time.perf_counter()
    total, count = len(descriptors), single.right.shape[1]
    values = descriptors.astype(np.float32)
    ranking = SequenceRanking(values, np.arange(total), total, length, run.limits)
    ranking.add(values, 0)
    ranked = ranking.ranked()
    right = np.zeros((total, count), bool)
    for row, indices in enumerate(ranked.indices[:, :count]):
        same = np.isfinite(run.truth.tile(slice(row, row + 1), slice(0, total))[0])
        right[row] = same[indices] & (indices >= 0)
    took_s = time.perf_counter() - started
    return Neighbours(single.nearest, right, ranked.indices[:, 0], ranked.scores[:, 0], took_s)
