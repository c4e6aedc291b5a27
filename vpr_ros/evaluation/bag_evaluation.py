# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command `vpr evaluate`: one table, and a folder with all the rest."""

from __future__ import annotations

import csv
import dataclasses
import resource
import time
from pathlib import Path

from rich.console import Console

from vpr_ros.core.encoder import Encoder, open_encoder
from vpr_ros.core.images import ImageConfig
from vpr_ros.evaluation.bag import Bag, Topics, cameras, choose_topics
from vpr_ros.evaluation.comparison import compare
from vpr_ros.evaluation.console import Progress, TextTable, say, show
from vpr_ros.evaluation.drive_folders import open_drive
from vpr_ros.evaluation.evaluated_drive import Drive, evaluate_drive
from vpr_ros.evaluation.metrics import (
    Metrics,
    drive_metrics,
    drive_rows,
    milliseconds,
    percent,
    summary,
)
from vpr_ros.evaluation.params import write_params
from vpr_ros.evaluation.replay import EncoderReplay, Recording, Request, replay_database
from vpr_ros.evaluation.report import TERMS, drive_sections, write_page
from vpr_ros.evaluation.run_folder import latest, own_command, run_folder, write_json
from vpr_ros.evaluation.truth_source import WAY_OUT, find_truth

OWN_TERMS = ("Encode", "Search and decision")  # that need no truth
THUMBNAIL = ImageConfig().thumbnail
SEQUENCE = 10  # keyframes; 0: no sequence matching
COLUMNS = (
    "keyframe", "image", "stamp_ns", "outcome", "reason", "best", "score", "margin", "match",
    "inliers", "nearest_true", "encode_ms", "search_ms",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class BagRun:
    """A bag, replayed and evaluated."""

    request: Request
    topics: Topics
    truth_text: str
    drive: Drive
    encoder: Encoder
    score_threshold: float  # below it no candidate is considered
    metrics: Metrics  # all numbers, units in the names; None for what is not defined


def run_bag(bag: Bag, request: Request, progress: Progress) -> BagRun:
    """Run it. Raises a VprError that says what is wrong with bag, truth, model or settings."""
    settings, sparsity = request.settings, request.settings.model.sparsity
    encoder = open_encoder(settings.model)
    contract = encoder.contract
    if encoder.remark:
        say(progress.console, encoder.remark)
    topics = choose_topics(bag, request.image, request.odometry)
    others = [t for t in cameras(bag) if t != topics.image]
    if others and not request.image:
        listed = ", ".join(others)
        say(progress.console, f"Images of {topics.image}; others, for --image: {listed}.")
    for topic, why in bag.unreadable.items():
        say(progress.console, f"Topic {topic} is skipped: {why}.")
    source = find_truth(bag, request.truth, request.rule, topics.odometry, request.truth_frame)
    recording = Recording(request.rerun) if request.rerun else None
    front = EncoderReplay(encoder, settings, THUMBNAIL if recording else 0)
    started = time.perf_counter()
    keyframes = front.keyframes(bag, topics, progress)
    replay = replay_database(keyframes, settings.loop, settings.database, recording)
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
        ("Peak memory of the process", f"{m['peak_memory_mb']:.0f} MB"),
    ]  # fmt: skip
    if not m["truth_missing"]:
        rows.append(("Comparison with the truth", f"{m['truth_s']:.1f} s"))
    if m["evicted"]:
        rows.append(("Removed from the database", f"{m['evicted']} keyframes"))
    if m["bad_images"]:
        rows.append(("Images skipped", f"{m['bad_images']}; first: {m['first_bad_image']}"))
    return rows


def run_evaluate(
    request: Request,
    output: Path,
    *,
    baselines: bool = True,
    sequence: int = SEQUENCE,
) -> BagRun:
    """Evaluate, write `output`/<time>/, print. Raises VprError, with nothing left on the disk.

    With `baselines` they are measured on the same keyframes, each and the model also by sequences
    of so many keyframes; 0: not.
    """
    console, command = Console(), own_command()
    with (
        run_folder(output) as folder,
        open_drive(request.bag) as bag,
        Progress(console) as progress,
    ):
        run = run_bag(bag, request, progress)
        metrics = {"headline": summary(run.metrics), **run.metrics, "command": command}
        methods = None
        if baselines and run.drive.revisits:
            compared = compare(bag, run.topics.image, run.drive, run.encoder, sequence, progress)
            methods = compared.table()
            metrics["methods"] = [dataclasses.asdict(one) for one in compared.results]
            metrics["methods_notes"] = compared.notes
        progress.begin("Writing the report")
        write_json(folder / "metrics.json", metrics)
        write_params(folder / "config.yaml", request.settings, _heading(run, command))
        write_keyframes(folder / "keyframes.csv", run.drive)
        write_report(folder / "report.html", run, bag, metrics, methods)
    say(console, metrics["headline"])
    if run.drive.truth.missing:
        say(console, f"{run.drive.truth.missing} {WAY_OUT}")
    show(console, run_rows(metrics))
    if methods is not None:
        methods.print(console)
    say(console, f"Images: {run.topics.image}. Ground truth: {run.truth_text}.")
    say(console, f"Report: {latest(output) / 'report.html'}")
    return run


def _heading(run: BagRun, command: str) -> str:
    """What a reader of config.yaml must know besides the nodes' parameters."""
    return (
        f"Evaluated by: {command}\n"
        f"bag: {run.request.bag}\nimages: {run.topics.image}\n"
        f"odometry of the gate: {run.topics.odometry or 'none'}\nground truth: {run.truth_text}\n"
        f"true loop: {run.drive.truth.rule}"
    )


def write_keyframes(path: Path, drive: Drive) -> None:
    """Write one line per keyframe: the answer, and what would have been right."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for verdict in drive.verdicts:
            a = verdict.answer
            row = (
                verdict.index, a.number, a.stamp_ns, verdict.outcome.name, a.reason.name, a.best,
                f"{a.score:.5f}", f"{a.margin:.5f}", a.match, a.inliers, verdict.true,
                f"{a.encode_ms:.2f}", f"{a.search_ms:.2f}",
            )  # fmt: skip
            table.writerow(["" if value in (None, "nan") else value for value in row])


def write_report(
    path: Path, run: BagRun, bag: Bag, metrics: Metrics, methods: TextTable | None
) -> None:
    """Write the page of `vpr evaluate`; `bag` is open, `methods` the table with the baselines."""
    drive, settings = run.drive, run.request.settings
    rule = (
        f"{drive.truth.rule}, and the match is older than the database excludes: "
        f"{settings.database.exclude_recent_s:g} s and "
        f"{settings.database.exclude_recent_keyframes} keyframes. What was seen just before "
        "counts neither as found nor as missed."
    )
    missing = drive.truth.missing
    tiles = [
        (percent(metrics["precision"], ""), "precision of the closures"),
        (percent(metrics["recall"], ""), "recall of the revisits"),
        (str(metrics["closures"]), "loop closures"),
        (str(metrics["keyframes"]), f"keyframes of {metrics['images']} images"),
        (percent(metrics["recall_at_1"], ""), "R@1, search alone"),
        (milliseconds(metrics["encode_p50_ms"]), "to encode, p50"),
    ]
    write_page(
        path,
        title=run.request.bag.name,
        headline=metrics["headline"],
        intro=f"{missing} {WAY_OUT} "
        * bool(missing)
        + "The bag was run through the objects that the ROS nodes use: decoding, keyframe "
        "gate, encoder, database and loop detector. Images: "
        f"{run.topics.image}. Ground truth: {run.truth_text}. Odometry of the keyframe gate: "
        f"{run.topics.odometry or 'none'}. Model: {metrics['model']}, sparsity "
        f"{settings.model.sparsity:g}.",
        tiles=[(number, what) for number, what in tiles if number],
        sections=drive_sections(
            drive,
            bag,
            run.topics.image,
            metrics,
            run_rows(metrics),
            run.score_threshold,
            methods=methods,
        ),
        terms={t: TERMS[t] for t in OWN_TERMS} if missing else {"True loop": rule, **TERMS},
        command=metrics["command"],
        machine=metrics["machine"],
        closing="Beside this page are metrics.json with the numbers, keyframes.csv with every "
        "answer, and config.yaml with the nodes' parameters, ready for the launch file.",
    )
