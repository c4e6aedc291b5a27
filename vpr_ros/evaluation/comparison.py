# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The baselines on the keyframes of a bag: what a model must beat there."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.images import Image
from vpr_ros.evaluation.bag import Bag, Topics, bag_images, pictures
from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.console import Progress, TextTable
from vpr_ros.evaluation.evaluated_drive import Drive
from vpr_ros.evaluation.methods import (
    BASELINES,
    Method,
    Model,
    OrbBagOfWords,
    baseline_models,
)
from vpr_ros.evaluation.metrics import RANKS, percent
from vpr_ros.evaluation.retrieval import Described, Result, search_result
from vpr_ros.evaluation.truth import judge

LONGEST = 3000  # keyframes whose difference matrix is held at once, about half a gigabyte
MEANING = (
    "The same keyframes, searched exhaustively; the score alone decides, without gates. R@100P: "
    "recall at 100 % precision. More than one frame: SeqSLAM over that many keyframes."
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All methods, the model first; shares of the revisits."""

    results: tuple[Result, ...]
    notes: tuple[str, ...]  # what was left out, and why

    def table(self) -> TextTable:
        """One line per method; more than one frame: SeqSLAM."""
        headings = (
            "method", "frames", *(f"R@{k}\n%" for k in RANKS), "R@100P\n%", "avg. precision\n%",
            "max F1\n%", "encode\np50, ms", "descriptor\nbytes",
        )  # fmt: skip
        rows = []
        for one in self.results:
            shares = [*(one.recall[k] for k in RANKS), one.recall_at_full_precision,
                      one.average_precision, one.max_f1]  # fmt: skip
            cells = (percent(share, "-").removesuffix(" %") for share in shares)
            frames, encode_ms = max(one.sequence, 1), f"{one.encode_p50_ms:.1f}"
            rows.append((one.method, str(frames), *cells, encode_ms, str(one.descriptor_bytes)))
        return TextTable("Methods", headings, tuple(rows), (MEANING, *self.notes))


def compare(run: BagRun, bag: Bag, sequence: int, progress: Progress) -> Comparison:
    """The model and all baselines; each also by sequences of so many keyframes, 0: not."""
    drive, notes = run.drive, []
    methods: list[Method] = []

    def read(keyframe: int) -> Image:
        when_ns = drive.answers[keyframe].recorded_ns
        return pictures(bag, run.topics.image, {when_ns})[when_ns]

    beside = [Model(name) for name in baseline_models([str(run.encoder.path)])]
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
    encode_ms = [a.encode_ms for a in drive.answers]
    own = Described(run.encoder.contract.name, drive.descriptors, encode_ms)
    results = []
    for described in (own, *_describe(run, bag, methods, progress)):
        progress.start(f"Comparing {described.method}")
        lengths = (0, sequence) if sequence else (0,)
        results += [drive_result(described, drive, length) for length in lengths]
    return Comparison(tuple(results), tuple(notes))


def drive_result(described: Described, drive: Drive, sequence: int = 0) -> Result:
    """How the keyframes of a drive find their past; `sequence` > 0: with those before, SeqSLAM."""
    return search_result(
        described,
        described,
        partial(judge, truth=drive.truth, nearest=drive.nearest),
        drive.first_recent,
        np.arange(len(described.descriptors)),
        sequence,
        described.descriptors.itemsize,
    )


def _describe(
    run: BagRun, bag: Bag, methods: Sequence[Method], progress: Progress
) -> list[Described]:
    """The keyframes by all methods, in one pass over the bag."""
    precision = run.drive.descriptors.dtype  # as the database stores them
    descriptors: list[list[npt.NDArray[np.floating]]] = [[] for _ in methods]
    took_ms: list[list[float]] = [[] for _ in methods]
    wanted = {answer.number for answer in run.drive.answers}
    progress.start("Baselines", len(wanted))
    for shown in bag_images(bag, Topics(run.topics.image)):
        if shown.number not in wanted:
            continue
        image = shown.frame.decode()
        for method, own, times in zip(methods, descriptors, took_ms, strict=True):
            started = time.perf_counter()
            descriptor = method.describe(image)
            times.append((time.perf_counter() - started) * 1e3)
            own.append(descriptor.astype(precision))
        progress.step()
    return [
        Described(method.name, np.stack(own), times)
        for method, own, times in zip(methods, descriptors, took_ms, strict=True)
    ]
