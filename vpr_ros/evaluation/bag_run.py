# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One evaluation of a bag, from the first image to the last verdict."""

from __future__ import annotations

import dataclasses
import math
import resource
import time
from pathlib import Path

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.bag import Bag, Topics, choose_topics
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.evaluated_drive import Drive, evaluate_drive
from vpr_ros.evaluation.metrics import Metrics, drive_metrics, drive_rows, without_nan
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.replay import DatabaseReplay, EncoderReplay
from vpr_ros.evaluation.truth import LoopRule
from vpr_ros.evaluation.truth_source import find_truth


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


@dataclasses.dataclass(frozen=True)
class BagRun:
    """A bag whose keyframes were answered, by a replay or by live nodes, and evaluated."""

    request: Request
    topics: Topics
    truth_text: str
    drive: Drive
    model: str
    score_threshold: float  # of the score gate
    images: int
    bytes_per_keyframe: float
    duration_s: float  # of the bag
    model_path: Path = Path()
    problems: int = 0
    first_problem: str = ""
    evicted: int = 0
    # Of a replay; NaN for live nodes
    replay_s: float = math.nan  # reading, encoding, searching
    truth_s: float = math.nan  # holding the answers against the truth
    peak_memory_mb: float = math.nan


def run_bag(bag: Bag, request: Request, progress: Progress) -> BagRun:
    """Run it. Raises a VprError that says what is wrong with bag, truth, model or settings."""
    settings = request.settings
    encoder = Encoder(find_model(settings.model.model), settings.model.threads)
    topics = choose_topics(bag, request.image, request.odometry)
    source = find_truth(bag, request.truth, request.rule, topics.odometry, request.truth_frame)
    eyes = EncoderReplay(encoder, settings)
    memory = DatabaseReplay(settings.loop, settings.database)
    started = time.perf_counter()
    for encoded in eyes.keyframes(bag, topics, progress):
        memory.answer(encoded)
    replayed = time.perf_counter()
    progress.start("Comparing with the ground truth")
    drive = evaluate_drive(memory.answers, memory.descriptors, source, settings.database)
    contract, sparsity = encoder.contract, settings.model.sparsity
    own = contract.calibration_at(sparsity)
    return BagRun(
        request=request,
        topics=topics,
        truth_text=source.text,
        drive=drive,
        model=f"{contract.name}, version {contract.version}",
        model_path=encoder.path,
        score_threshold=settings.loop.calibration_at(sparsity, own, contract.name).score_threshold,
        images=eyes.images,
        problems=eyes.problems,
        first_problem=eyes.first_problem,
        bytes_per_keyframe=memory.database.bytes_per_keyframe,
        evicted=memory.database.evicted,
        duration_s=bag.duration_s,
        replay_s=replayed - started,
        truth_s=time.perf_counter() - replayed,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    )


def run_metrics(run: BagRun) -> Metrics:
    """The drive's numbers and those of the run itself; NaN becomes None."""
    own = {
        "images": run.images,
        "bad_images": run.problems,
        "first_bad_image": run.first_problem,
        "bytes_per_keyframe": run.bytes_per_keyframe,
        "evicted": run.evicted,
        "duration_s": run.duration_s,
        "replay_s": run.replay_s,
        "times_real_time": run.duration_s / run.replay_s if run.replay_s else math.nan,
        "truth_s": run.truth_s,
        "peak_memory_mb": run.peak_memory_mb,
        "model": run.model,
        "sparsity": run.request.settings.model.sparsity,
        "threads": run.request.settings.model.threads,
    }
    return drive_metrics(run.drive) | dict(without_nan(own))


def run_rows(m: Metrics) -> list[tuple[str, str]]:
    """(what, value with unit) of every line of the one table."""
    rows = [
        *drive_rows(m),
        ("Memory per keyframe", f"{m['bytes_per_keyframe'] / 1e3:.1f} kB"),
        ("Keyframes", f"{m['keyframes']} of {m['images']} images in {m['duration_s']:.0f} s"),
    ]
    if m["replay_s"] is not None:
        speed, threads = m["times_real_time"] or 0.0, m["threads"]
        rows += [
            ("Speed", f"{speed:.1f} x real time (replay {m['replay_s']:.1f} s, {threads} "
                      f"thread{'s' if threads > 1 else ''})"),
            ("Comparison with the truth", f"{m['truth_s']:.1f} s; peak memory of the process "
                                          f"{m['peak_memory_mb']:.0f} MB"),
        ]  # fmt: skip
    if m["evicted"]:
        rows.append(("Removed from the database", f"{m['evicted']} keyframes"))
    if m["bad_images"]:
        rows.append(("Images skipped", f"{m['bad_images']}; first: {m['first_bad_image']}"))
    return rows
