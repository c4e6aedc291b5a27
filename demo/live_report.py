# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers and the page of a live run: an evaluation's, and what only the live nodes know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from demo.live_figures import draw_timeline
from demo.live_run import RULE, LiveRun
from demo.mapped_run import MappedRun, mapped_rows, mapped_sections
from demo.topics import NODES
from vpr_ros.core.database import DatabaseConfig
from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.figures import drawing
from vpr_ros.evaluation.metrics import (
    Metrics,
    drive_metrics,
    drive_rows,
    milliseconds,
    percent,
    summary,
)
from vpr_ros.evaluation.report import TERMS, Section, drive_sections, write_page
from vpr_ros.evaluation.run_folder import without_nan

INTRO = (
    "A robot drove through a rendered building twice and then into rooms it had never seen. "
    "ROS 2 nodes watched through its camera in real time, closed loops where they recognised a "
    "place, and corrected the odometry. The second lap follows other lines, at another speed and "
    "in other light, and two corridors look alike."
)
TWINS = " Here both look the same, and so do the rooms behind them, up to a curtain."
TIMELINE = (
    "The encoder follows the battery: less charge, higher sparsity, less compute. The zeros at "
    "the start are what battery drivers send before their first reading; the encoder ignores "
    "them. Every dot and tick is one keyframe; where there are none, the robot stands still."
)
UNKNOWN = ("Encode", "Search and decision")  # terms of times that the nodes do not publish
LIVE_TERMS = {
    "Latency": "from the stamp of the image to the arrival of the database's answer in another "
    "process.",
    "Dropped frames": "images that were replaced by newer ones before the encoder looked at them.",
}


def live_metrics(live: LiveRun, mapped: MappedRun, command: str) -> Metrics:
    """All numbers of a live run, with their units in the names; NaN becomes None."""
    last = {name: live.diagnostics[name][-1] for name in NODES}
    closed = [v.index for v in live.drive.verdicts if v.answer.match is not None]
    p50, p95 = np.percentile(live.latency_ms[closed], (50, 95)) if closed else (np.nan, np.nan)
    own = {
        "latency_p50_ms": float(p50),
        "latency_p95_ms": float(p95),
        "images": live.images,
        "dropped_images": int(last["encoder"]["dropped_images"]),
        "bytes_per_keyframe": float(last["database"]["bytes_per_keyframe"]),
        "memory_mb": {
            name: max(float(status["memory_mb"]) for status in live.diagnostics[name])
            for name in NODES
        },
        "update_p50_ms": float(last["graph"]["correction_p50_ms"]),
        "update_p95_ms": float(last["graph"]["correction_p95_ms"]),
        "encoder_cpu_s": float(last["encoder"]["cpu_s"]),
        "problems": {name: int(last[name]["problems"]) for name in NODES},
        "sparsity": [[round(when, 1), value] for when, value in live.sparsity_changes()],
        "duration_s": live.play["duration_s"],
        "player_lag_p95_ms": live.play["lag_p95_ms"],
        "model": last["encoder"]["model"],
        "command": command,
    }
    return drive_metrics(live.drive) | dict(without_nan(own | mapped.metrics()))


def live_rows(m: Metrics) -> list[tuple[str, str]]:
    """(what, value with unit) of every line of the one table."""
    (_, first), *changes = m["sparsity"]
    steps = [f"{first:g}", *(f"{value:g} at {when:.0f} s" for when, value in changes)]
    latency, update = (
        [milliseconds(m[f"{what}_{p}_ms"]) for p in ("p50", "p95")]
        for what in ("latency", "update")
    )
    memory = ", ".join(f"{name} {m['memory_mb'][name]:.0f}" for name in NODES)
    rows = [
        *drive_rows(m),
        *mapped_rows(m),
        ("Latency, image to closure", f"p50 {latency[0]}, p95 {latency[1]}"),
        ("Update of the graph", f"p50 {update[0]}, p95 {update[1]}"),
        ("Dropped frames", f"{m['dropped_images']} of {m['images']}"),
        ("Keyframes", f"{m['keyframes']} in {m['duration_s']:.0f} s"),
        ("Memory per keyframe", f"{m['bytes_per_keyframe'] / 1e3:.1f} kB"),
        ("Memory of the nodes, peak", f"{memory} MB"),
        ("Sparsity", " → ".join(steps)),
    ]
    if any(m["problems"].values()):
        told = ", ".join(f"{name} {n}" for name, n in m["problems"].items() if n)
        rows.append(("Problems, see the logs", told))
    return rows


def headline(m: Metrics) -> str:
    """The drive in one line."""
    return (
        f"{m['closures']} loop closures in {m['duration_s']:.0f} s: "
        f"precision {percent(m['precision'])}, recall {percent(m['recall'])}, "
        f"{m['latency_p50_ms'] or 0:.0f} ms from image to closure"
    )


def write_report(
    folder: Path, live: LiveRun, mapped: MappedRun, bag: Bag, metrics: Metrics
) -> None:
    """Write report.html and metrics.json; `bag` is the open drive, for its pictures."""
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    title = "Battery, sparsity, latency and outcomes over time"
    timeline = drawing(title, _draw_timeline, live, size=(11, 5.2), narrow=(4.6, 6.4))
    twins = any(area.curtain for area in live.plan.areas)
    drive, exclusion_s = live.drive, DatabaseConfig().exclude_recent_s
    route, *others = drive_sections(
        drive,
        bag,
        live.image_topic,
        metrics,
        live_rows(metrics),
        live.score_threshold,
        Section("Timeline", TIMELINE, timeline),
    )
    write_page(
        folder / "report.html",
        title="Have I been here before?",
        headline=summary(metrics),
        intro=f"{INTRO}{TWINS * twins} Model: {metrics['model']}.",
        tiles=(
            (percent(metrics["precision"]), "precision"),
            (percent(metrics["recall"]), "recall"),
            (str(metrics["closures"]), "loop closures"),
            (milliseconds(metrics["latency_p50_ms"]), "image to closure, p50"),
            (str(metrics["dropped_images"]), f"of {metrics['images']} frames dropped"),
        ),
        sections=[route, *mapped_sections(mapped, mapped_rows(metrics)), *others],
        terms={
            "True loop": f"positions within {RULE.metres:g} m, headings within "
            f"{RULE.degrees:g} degrees, and the match is older than the {exclusion_s:g} s that "
            "the database excludes.",
            **{term: text for term, text in TERMS.items() if term not in UNKNOWN},
            **LIVE_TERMS,
        },
        command=metrics["command"],
        machine=metrics["machine"],
        closing="Beside this page are metrics.json with the numbers, the logs, the bags drive "
        "(what the robot sent) and closures (what the nodes answered), map and graph, and "
        "the same of the next day in wake_up.",
    )


def _draw_timeline(figure: Figure, live: LiveRun) -> None:
    draw_timeline(list(figure.subplots(3, 1)), live)
