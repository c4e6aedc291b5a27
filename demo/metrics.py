# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The drive in numbers: one table, the same on the console, in the report and as JSON."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from demo.results import Results
from demo.topics import NODES
from vpr_ros.evaluation.metrics import Metrics, cleaned, machine, percent, words
from vpr_ros.evaluation.tally import Outcome


def measure(results: Results, command: str) -> Metrics:
    """All numbers of a drive, with their units in the names; NaN becomes None."""
    score, last = results.score, _last(results)
    latencies = [closure.latency_ms for closure in results.recording.closures]
    p50, p95 = np.percentile(latencies, (50, 95)) if latencies else (math.nan, math.nan)
    numbers: Metrics = {
        "precision": score.precision,
        "recall": score.recall,
        "recall_at_full_precision": score.curve.recall_at_full_precision,
        "closures": len(results.recording.closures),
        "wrong_closures": score.count(Outcome.WRONG),
        "keyframes": len(score.verdicts),
        "revisits": score.revisits,
        "latency_p50_ms": float(p50),
        "latency_p95_ms": float(p95),
        "images": len(results.truth.views),
        "dropped_images": int(last["encoder"]["dropped_images"]),
        "bytes_per_keyframe": float(last["database"]["bytes_per_keyframe"]),
        "memory_mb": {name: _peak(results, name, "memory_mb") for name in NODES},
        "encoder_cpu_s": float(last["encoder"]["cpu_s"]),
        "problems": {name: int(last[name]["problems"]) for name in NODES},
        "sparsity": [[round(s, 1), value] for s, value in results.recording.sparsity],
        "reasons": dict(Counter(v.answer.reason for v in score.verdicts).most_common()),
        "duration_s": results.play["duration_s"],
        "player_lag_p95_ms": results.play["lag_p95_ms"],
        "model": last["encoder"]["model"],
        "machine": machine(),
        "command": command,
    }
    return cleaned(numbers)


def table(m: Metrics) -> list[tuple[str, str]]:
    """(what, value with unit) of every line of the one table."""
    right = m["closures"] - m["wrong_closures"]
    memory = ", ".join(f"{name} {m['memory_mb'][name]:.0f}" for name in NODES)
    rows = [
        ("Precision", f"{percent(m['precision'])}  ({right} of {m['closures']} closures right)"),
        ("Recall", f"{percent(m['recall'])}  ({right} of {m['revisits']} revisits closed)"),
        ("Recall at 100 % precision", percent(m["recall_at_full_precision"])),
        ("Loop closures", str(m["closures"])),
        ("Latency, image to closure", f"p50 {ms(m['latency_p50_ms'])}, "
                                      f"p95 {ms(m['latency_p95_ms'])}"),
        ("Dropped frames", f"{m['dropped_images']} of {m['images']}"),
        ("Keyframes", f"{m['keyframes']} in {m['duration_s']:.0f} s"),
        ("Memory of one keyframe", f"{m['bytes_per_keyframe'] / 1e3:.1f} kB"),
        ("Memory of the nodes, peak", f"{memory} MB"),
        ("Sparsity", sparsity_text(m["sparsity"])),
        ("Queries by reason", ", ".join(f"{words(k)} {n}" for k, n in m["reasons"].items())),
    ]  # fmt: skip
    if any(m["problems"].values()):
        told = ", ".join(f"{name} {n}" for name, n in m["problems"].items() if n)
        rows.append(("Problems, see the logs", told))
    return rows


def ms(value: float | None) -> str:
    """A duration in words."""
    return "not measured" if value is None else f"{value:.0f} ms"


def sparsity_text(steps: list[list[float]]) -> str:
    """E.g. `0 -> 0.4 at 57 s -> 0.6 at 83 s`, in drive time."""
    (_, first), *rest = steps
    return " → ".join([f"{first:g}", *(f"{value:g} at {when:.0f} s" for when, value in rest)])


def _last(results: Results) -> dict[str, dict[str, str]]:
    return {name: results.recording.diagnostics[name][-1] for name in NODES}


def _peak(results: Results, node: str, key: str) -> float:
    return max(float(values[key]) for values in results.recording.diagnostics[node])
