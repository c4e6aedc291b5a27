# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One evaluation of a bag, from the first image to the last verdict."""

from __future__ import annotations

import dataclasses
import resource
import time
from pathlib import Path

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation.bag import Bag, Topics, choose_topics
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.evaluated_drive import Drive, evaluate_drive
from vpr_ros.evaluation.metrics import Metrics, drive_metrics, drive_rows
from vpr_ros.evaluation.params import Settings
from vpr_ros.evaluation.replay import EncoderReplay, replay_database
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
    """A bag, replayed and evaluated."""

    request: Request
    topics: Topics
    truth_text: str
    drive: Drive
    encoder: Encoder
    score_threshold: float  # of the score gate
    metrics: Metrics  # all numbers, units in the names; None for what is not defined


def run_bag(bag: Bag, request: Request, progress: Progress) -> BagRun:
    """Run it. Raises a VprError that says what is wrong with bag, truth, model or settings."""
    settings, sparsity = request.settings, request.settings.model.sparsity
    encoder = Encoder(find_model(settings.model.model), settings.model.threads)
    contract = encoder.contract
    topics = choose_topics(bag, request.image, request.odometry)
    source = find_truth(bag, request.truth, request.rule, topics.odometry, request.truth_frame)
    front = EncoderReplay(encoder, settings)
    started = time.perf_counter()
    keyframes = front.keyframes(bag, topics, progress)
    replay = replay_database(keyframes, settings.loop, settings.database)
    replayed = time.perf_counter()
    progress.begin("Comparing with the ground truth")
    drive = evaluate_drive(replay.answers, replay.descriptors, source, settings.database)
    thresholds = settings.loop.calibration_at(
        sparsity, contract.calibration_at(sparsity), contract.name
    )
    metrics = drive_metrics(drive) | {
        "images": front.images,
        "bad_images": front.problems,
        "first_bad_image": front.first_problem,
        "bytes_per_keyframe": replay.database.bytes_per_keyframe,
        "evicted": replay.database.evicted,
        "duration_s": bag.duration_s,
        "replay_s": replayed - started,  # reading, encoding, searching
        "times_real_time": bag.duration_s / (replayed - started),
        "truth_s": time.perf_counter() - replayed,  # holding the answers against the truth
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "model": f"{contract.name}, version {contract.version}",
        "sparsity": sparsity,
        "threads": settings.model.threads,
    }
    score_threshold = thresholds.score_threshold
    return BagRun(request, topics, source.text, drive, encoder, score_threshold, metrics)


def run_rows(m: Metrics) -> list[tuple[str, str]]:
    """(what, value with unit) of every line of the one table."""
    threads = f"{m['threads']} thread{'s' if m['threads'] > 1 else ''}"
    rows = [
        *drive_rows(m),
        ("Memory per keyframe", f"{m['bytes_per_keyframe'] / 1e3:.1f} kB"),
        ("Keyframes", f"{m['keyframes']} of {m['images']} images in {m['duration_s']:.0f} s"),
        ("Speed", f"{m['times_real_time']:.1f} x real time (replay {m['replay_s']:.1f} s, "
                  f"{threads})"),
        ("Comparison with the truth", f"{m['truth_s']:.1f} s; peak memory of the process "
                                      f"{m['peak_memory_mb']:.0f} MB"),
    ]  # fmt: skip
    if m["evicted"]:
        rows.append(("Removed from the database", f"{m['evicted']} keyframes"))
    if m["bad_images"]:
        rows.append(("Images skipped", f"{m['bad_images']}; first: {m['first_bad_image']}"))
    return rows
