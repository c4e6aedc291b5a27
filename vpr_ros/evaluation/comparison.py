# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The baselines on the keyframes of a bag: what a model must beat there."""

from __future__ import annotations

import dataclasses
import time
from functools import partial

import numpy as np
import numpy.typing as npt

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError
from vpr_ros.core.images import Image
from vpr_ros.evaluation.bag import Bag, Topics, bag_images, pictures
from vpr_ros.evaluation.console import Progress, TextTable
from vpr_ros.evaluation.descriptor_store import Described
from vpr_ros.evaluation.evaluated_drive import Drive, Outcome
from vpr_ros.evaluation.methods import (
    BASELINES,
    Method,
    Model,
    OrbBagOfWords,
    baseline_models,
)
from vpr_ros.evaluation.metrics import RANKS, percent
from vpr_ros.evaluation.retrieval import Result, search_result
from vpr_ros.evaluation.truth import judge

LONGEST = 3000  # keyframes whose difference matrix is held at once, about half a gigabyte
MEANING = (
    "The same keyframes. All gates: the closures of the loop detector. Below it every method by "
    "its score alone, searched exhaustively: what it would close at the lowest threshold that "
    "lets nothing wrong through, which only the truth can tell. More than one frame: SeqSLAM over "
    "that many keyframes."
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All methods, the model first; shares of the revisits."""

    model: str
    recall: float  # of the loop detector; NaN without a revisit
    wrong: int  # closures of the loop detector
    results: tuple[Result, ...]
    notes: tuple[str, ...]  # what was left out, and why

    def table(self) -> TextTable:
        """The loop detector, then one line per method; more than one frame: SeqSLAM."""
        headings = (
            "method", "frames", "closed\n%", "wrong", *(f"R@{k}\n%" for k in RANKS),
            "avg. precision\n%", "max F1\n%", "encode\np50, ms", "descriptor\nbytes",
        )  # fmt: skip
        closed = percent(self.recall, "-").removesuffix(" %")
        decided = (f"{self.model}, all gates", "1", closed, str(self.wrong))
        rows = [(*decided, *["-"] * (len(headings) - len(decided)))]
        for one in self.results:
            shares = [one.recall_at_full_precision, *(one.recall[k] for k in RANKS),
                      one.average_precision, one.max_f1]  # fmt: skip
            closed, *cells = (percent(share, "-").removesuffix(" %") for share in shares)
            frames, encode_ms = max(one.sequence, 1), f"{one.encode_p50_ms:.1f}"
            found = (one.method, str(frames), closed, "-" if closed == "-" else "0", *cells)
            rows.append((*found, encode_ms, str(one.descriptor_bytes)))
        return TextTable("Methods", headings, tuple(rows), (MEANING, *self.notes))


def compare(
    bag: Bag, topic: str, drive: Drive, encoder: Encoder, sequence: int, progress: Progress
) -> Comparison:
    """The model of `encoder` and all baselines on a drive whose images are on `topic`.

    Each also by sequences of so many keyframes; 0: not.
    """
    notes = []
    methods: list[Method] = []

    def read(keyframe: int) -> Image:
        when_ns = drive.answers[keyframe].recorded_ns
        return pictures(bag, topic, {when_ns})[when_ns]

    beside = [Model(name) for name in baseline_models([str(encoder.path)])]
    for method in (*beside, *(make() for make in BASELINES.values())):
        progress.begin(f"Preparing {method.name}")
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
    numbers = {answer.number for answer in drive.answers}
    progress.begin("Baselines", len(numbers))
    rows: list[list[npt.NDArray[np.float32]]] = [[] for _ in methods]
    encode_ms: list[list[float]] = [[] for _ in methods]
    for image in bag_images(bag, Topics(topic)):
        if image.number not in numbers:
            continue
        pixels = image.frame.decode()
        for method, own, times in zip(methods, rows, encode_ms, strict=True):
            started = time.perf_counter()
            own.append(method.describe(pixels))
            times.append(1e3 * (time.perf_counter() - started))
        progress.step()
    found = [(encoder.contract.name, drive.descriptors, [a.encode_ms for a in drive.answers])]
    found += [
        (m.name, np.stack(own), ms) for m, own, ms in zip(methods, rows, encode_ms, strict=True)
    ]
    results = []
    for name, descriptors, times in found:
        progress.begin(f"Comparing {name}")
        stored = descriptors.astype(drive.descriptors.dtype)  # as in the database
        described = Described(name, stored, times)
        results += [
            drive_result(described, drive, n) for n in ((0, sequence) if sequence else (0,))
        ]
    wrong = drive.count(Outcome.WRONG)
    return Comparison(encoder.contract.name, drive.recall, wrong, tuple(results), tuple(notes))


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
