# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The baselines on the keyframes of a bag: what a model must beat there."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.images import Image
from vpr_ros.evaluation.bag import Bag, Topics, bag_images, pictures
from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.baselines import OrbBagOfWords
from vpr_ros.evaluation.console import Progress, TextTable
from vpr_ros.evaluation.evaluated_drive import Drive, recall_at, score_curve
from vpr_ros.evaluation.methods import BASELINES, Method, Model, baseline_models
from vpr_ros.evaluation.metrics import RANKS, percent
from vpr_ros.evaluation.search import Ranked, search_older
from vpr_ros.evaluation.seqslam import SequenceRanking

LONGEST = 3000  # keyframes whose difference matrix is held at once, about half a gigabyte


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """One method by its score alone, without gates; shares of the revisits, NaN without any."""

    method: str
    sequence: int  # frames; 0: single keyframes
    recall: dict[int, float]  # k -> R@k
    recall_at_full_precision: float
    average_precision: float
    max_f1: float
    encode_p50_ms: float
    descriptor_bytes: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All methods, the model first."""

    results: tuple[MethodResult, ...]
    notes: tuple[str, ...]  # what was left out, and why

    def table(self) -> TextTable:
        """One line per method; more than one frame: SeqSLAM."""
        headings = (
            "method", "frames", *(f"R@{k}\n%" for k in RANKS), "R@100P\n%", "avg. precision\n%",
            "max F1\n%", "encode\np50, ms", "descriptor\nbytes",
        )  # fmt: skip
        rows = tuple(
            (
                one.method,
                str(max(one.sequence, 1)),
                *(_cell(one.recall[k]) for k in RANKS),
                _cell(one.recall_at_full_precision),
                _cell(one.average_precision),
                _cell(one.max_f1),
                f"{one.encode_p50_ms:.1f}",
                str(one.descriptor_bytes),
            )
            for one in self.results
        )
        meaning = (
            "The same keyframes, searched exhaustively; the score alone decides, without gates. "
            "R@100P: recall at 100 % precision. More than one frame: SeqSLAM over that many "
            "keyframes."
        )
        return TextTable("Methods", headings, rows, (meaning, *self.notes))


def compare(run: BagRun, bag: Bag, sequence: int, progress: Progress) -> Comparison:
    """The model and all baselines; each also by sequences of so many keyframes, 0: not."""
    drive, notes = run.drive, []
    methods: list[Method] = []

    def read(keyframe: int) -> Image:
        when_ns = drive.answers[keyframe].recorded_ns
        return pictures(bag, run.topics.image, {when_ns})[when_ns]

    beside = [Model(name) for name in baseline_models([str(run.model_path)])]
    for method in (*beside, *(make() for make in BASELINES.values())):
        progress.start(f"Preparing {method.name}")
        try:
            method.learn(len(drive.answers), read)
        except ConfigError as error:
            notes.append(f"{method.name} is left out: {error}")
            continue
        methods.append(method)
        if method.name == OrbBagOfWords.name:
            notes.append(f"{method.name} has trained its vocabulary on this very bag.")
    if sequence and len(drive.answers) > LONGEST:
        notes.append(f"Sequences are left out: more than {LONGEST} keyframes.")
        sequence = 0
    lengths = (0, sequence) if sequence else (0,)
    own = (run.model.split(",")[0], drive.descriptors, [a.encode_ms for a in drive.answers])
    results = []
    for name, descriptors, encode_ms in (own, *_describe(run, bag, methods, progress)):
        progress.start(f"Comparing {name}")
        results += [measure_method(name, descriptors, encode_ms, drive, n) for n in lengths]
    return Comparison(tuple(results), tuple(notes))


def measure_method(
    name: str,
    descriptors: npt.NDArray[np.floating],
    encode_ms: Sequence[float],
    drive: Drive,
    sequence: int = 0,
) -> MethodResult:
    """How a method does whose `descriptors` (N, D) of the drive's keyframes are given.

    `sequence` > 0: each keyframe with those before it, by SeqSLAM.
    """
    ranked = _ranked(descriptors, drive, sequence)
    curve = score_curve(ranked.best, ranked.scores[:, 0], drive.truth, drive.nearest)
    return MethodResult(
        name,
        sequence,
        {k: recall_at(ranked, drive.truth, drive.nearest, k) for k in RANKS},
        curve.recall_at_full_precision,
        curve.average_precision,
        curve.best_f1[0],
        float(np.median(encode_ms)),
        int(descriptors[0].nbytes),
    )


def _ranked(descriptors: npt.NDArray[np.floating], drive: Drive, sequence: int) -> Ranked:
    if not sequence:
        return search_older(descriptors, drive.first_recent)
    total, values = len(descriptors), descriptors.astype(np.float32)
    ranking = SequenceRanking(values, np.arange(total), total, sequence, drive.first_recent)
    ranking.add(values, 0)
    return ranking.ranked()


def _describe(
    run: BagRun, bag: Bag, methods: Sequence[Method], progress: Progress
) -> list[tuple[str, npt.NDArray[np.floating], list[float]]]:
    """(name, descriptors (N, D), ms to encode each) of all methods, in one pass over the bag."""
    precision = run.drive.descriptors.dtype  # as the database stores them
    found: list[list[npt.NDArray[np.floating]]] = [[] for _ in methods]
    took_ms: list[list[float]] = [[] for _ in methods]
    wanted = {answer.number for answer in run.drive.answers}
    progress.start("Baselines", len(wanted))
    for shown in bag_images(bag, Topics(run.topics.image)):
        if shown.number not in wanted:
            continue
        image = shown.frame.decode()
        for method, descriptors, times in zip(methods, found, took_ms, strict=True):
            started = time.perf_counter()
            descriptor = method.describe(image)
            times.append((time.perf_counter() - started) * 1e3)
            descriptors.append(descriptor.astype(precision))
        progress.step()
    return [
        (method.name, np.stack(descriptors), times)
        for method, descriptors, times in zip(methods, found, took_ms, strict=True)
    ]


def _cell(share: float) -> str:
    return "-" if math.isnan(share) else percent(share).removesuffix(" %")
