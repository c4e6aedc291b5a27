# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bag's evaluation in numbers: one table, the same on the console, in the report, as JSON."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from importlib.metadata import version
from typing import Any

import numpy as np

from vpr_ros.core.loop_detector import Reason
from vpr_ros.evaluation.bag_run import BagRun
from vpr_ros.evaluation.tally import Outcome

Metrics = dict[str, Any]
RANKS = (1, 5, 10)


def measure(run: BagRun) -> Metrics:
    """All numbers of an evaluation, with their units in the names; NaN becomes None."""
    judged, answers = run.judgement, run.answers
    f1, f1_threshold = judged.curve.best_f1
    encode = np.percentile([a.encode_ms for a in answers], (50, 95))
    search = np.percentile([a.search_ms for a in answers], (50, 95))
    reasons = Counter(a.reason for a in answers)
    numbers: Metrics = {
        "precision": judged.precision,
        "recall": judged.recall,
        "recall_at_full_precision": judged.curve.recall_at_full_precision,
        "max_f1": f1,
        "max_f1_threshold": f1_threshold,
        "average_precision": judged.curve.average_precision,
        **{f"recall_at_{k}": judged.neighbours.recall_at(k) for k in RANKS},
        "closures": sum(a.match is not None for a in answers),
        "right_closures": judged.count(Outcome.RIGHT),
        "wrong_closures": judged.count(Outcome.WRONG),
        "missed": judged.count(Outcome.MISSED),
        "revisits": judged.revisits,
        "keyframes": len(answers),
        "keyframes_not_judged": judged.count(Outcome.UNKNOWN),
        "images": run.images,
        "bad_images": run.problems,
        "first_bad_image": run.first_problem,
        "encode_p50_ms": float(encode[0]),
        "encode_p95_ms": float(encode[1]),
        "search_p50_ms": float(search[0]),
        "search_p95_ms": float(search[1]),
        "bytes_per_keyframe": run.bytes_per_keyframe,
        "evicted": run.evicted,
        "reasons": {r.name: reasons[r] for r in Reason if reasons[r]},
        "duration_s": run.duration_s,
        "replay_s": run.replay_s,
        "times_real_time": run.duration_s / run.replay_s if run.replay_s else math.nan,
        "judge_s": run.judge_s,
        "peak_memory_mb": run.peak_memory_mb,
        "model": run.model,
        "sparsity": run.settings.model.sparsity,
        "threads": run.settings.model.threads,
        "machine": machine(),
    }
    return cleaned(numbers)


def cleaned(numbers: Metrics) -> Metrics:
    """The same with None for NaN, which JSON does not know; also inside lists and mappings."""
    return {key: _cleaned(value) for key, value in numbers.items()}


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return cleaned(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def table(m: Metrics) -> list[tuple[str, str]]:
    """(what, value with unit) of every line of the one table."""
    judged = m["right_closures"] + m["wrong_closures"]
    ranks = ", ".join(percent(m[f"recall_at_{k}"]) for k in RANKS)
    rejected = ", ".join(f"{words(k)} {n}" for k, n in m["reasons"].items() if k != "ACCEPTED")
    rows = [
        ("Precision", f"{percent(m['precision'])}  ({m['right_closures']} of {judged} "
                      "judged closures right)"),
        ("Recall", f"{percent(m['recall'])}  ({m['right_closures']} of {m['revisits']} "
                   "revisits closed)"),
        ("Recall at 100 % precision, score alone", percent(m["recall_at_full_precision"])),
        ("Max F1, score alone", f1_text(m)),
        ("Average precision, score alone", percent(m["average_precision"])),
        ("R@1, R@5, R@10", ranks),
        ("Encode, a keyframe", f"p50 {ms(m['encode_p50_ms'])}, p95 {ms(m['encode_p95_ms'])}"),
        ("Search and gates, a keyframe", f"p50 {ms(m['search_p50_ms'])}, "
                                         f"p95 {ms(m['search_p95_ms'])}"),
        ("Memory of one keyframe", f"{m['bytes_per_keyframe'] / 1e3:.1f} kB"),
        ("Rejected by reason", rejected or "none"),
        ("Keyframes", f"{m['keyframes']} of {m['images']} images in {m['duration_s']:.0f} s"),
        ("Speed", f"{m['times_real_time'] or 0:.1f} x real time (replay {m['replay_s']:.1f} s, "
                  f"{m['threads']} thread{'s' if m['threads'] > 1 else ''})"),
        ("Judging", f"{m['judge_s']:.1f} s; peak memory of the process "
                    f"{m['peak_memory_mb']:.0f} MB"),
    ]  # fmt: skip
    if m["keyframes_not_judged"]:
        rows.append(("Not judged", f"{m['keyframes_not_judged']} keyframes without truth"))
    if m["evicted"]:
        rows.append(("Forgotten by the database", f"{m['evicted']} keyframes"))
    if m["bad_images"]:
        rows.append(("Images passed over", f"{m['bad_images']}; first: {m['first_bad_image']}"))
    return rows


def f1_text(m: Metrics) -> str:
    """The largest F1 and where."""
    if m["max_f1_threshold"] is None:
        return percent(m["max_f1"])
    return f"{percent(m['max_f1'])}  (at score {m['max_f1_threshold']:.3f})"


def percent(value: float | None) -> str:
    """A share in words, rounded down so that 100.0 % means all."""
    if value is None or math.isnan(value):
        return "not defined"
    return f"{math.floor(value * 1000 + 1e-9) / 10:.1f} %"


def ms(value: float) -> str:
    """A duration in words."""
    return f"{value:.1f} ms"


def words(reason: str) -> str:
    """A typed reason as prose."""
    return reason.lower().replace("_", " ")


def machine() -> str:
    """Processor, cores and versions: what the times depend on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            names = [x.split(":", 1)[1].strip() for x in file if x.startswith("model name")]
        model = names[0] if names else model
    except OSError:  # not Linux
        pass
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"onnxruntime {version('onnxruntime')}"
    )
