# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluated drive in numbers: one table, the same on the console, in the report, as JSON."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.core.loop_detector import Reason
from vpr_ros.evaluation.evaluated_drive import Drive, Outcome
from vpr_ros.evaluation.run_folder import without_nan

Metrics = dict[str, Any]
RANKS = (1, 5, 10)
UNDEFINED = "not defined"


def drive_metrics(drive: Drive) -> Metrics:
    """All numbers that follow from the answers, units in the names; NaN becomes None."""
    answers, curve = drive.answers, drive.curve
    f1, f1_threshold = curve.best_f1
    reasons = Counter(a.reason for a in answers)
    encode = p50_p95([a.encode_ms for a in answers])
    search = p50_p95([a.search_ms for a in answers])
    numbers: Metrics = without_nan(
        {
            "precision": drive.precision,
            "recall": drive.recall,
            "recall_at_full_precision": curve.recall_at_full_precision,
            "max_f1": f1,
            "max_f1_threshold": f1_threshold,
            "average_precision": curve.average_precision,
            **{f"recall_at_{k}": drive.searched.recall_at(k) for k in RANKS},
            "closures": sum(a.match is not None for a in answers),
            "right_closures": drive.count(Outcome.RIGHT),
            "wrong_closures": drive.count(Outcome.WRONG),
            "missed": drive.count(Outcome.MISSED),
            "revisits": drive.revisits,
            "keyframes": len(answers),
            "truth_missing": drive.truth.missing or None,
            "keyframes_not_judged": drive.count(Outcome.UNKNOWN),
            "encode_p50_ms": encode[0],
            "encode_p95_ms": encode[1],
            "search_p50_ms": search[0],
            "search_p95_ms": search[1],
            "reasons": {r.name: reasons[r] for r in Reason if reasons[r]},
            "machine": machine(),
        }
    )
    return numbers


def summary(m: Metrics) -> str:
    """The drive in the one sentence that a reader wants first."""
    wrong, revisits, closures = m["wrong_closures"], m["revisits"], m["closures"]
    if m["truth_missing"]:
        found = _count(closures, "loop closure") if closures else "No loop closure"
        asked = "how many are right" if closures else "whether there was one"
        return f"{found} found; without ground truth, {asked} is not known."
    told = f"{_count(wrong, 'closure')} wrong" if wrong else "none wrong"
    told = told if closures else "nothing was closed"
    if not revisits:
        sentence = f"This drive never returns to a place, so there was nothing to find; {told}"
    else:
        sentence = f"{m['right_closures']} of {_count(revisits, 'revisit')} found, {told}"
    unjudged = closures - m["right_closures"] - wrong
    return sentence + (f"; {_count(unjudged, 'closure')} not judged." if unjudged else ".")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def drive_rows(m: Metrics) -> list[tuple[str, str]]:
    """(what, value with unit) of every line of the table that `drive_metrics` has numbers for."""
    right = m["right_closures"]
    rejected = [f"{reason_text(k)} {n}" for k, n in m["reasons"].items() if k != "ACCEPTED"]
    at_score = m["max_f1_threshold"]
    judged = [
        ("Precision", f"{percent(m['precision'])}  ({right} of {right + m['wrong_closures']} "
                      "judged closures right)"),
        ("Recall", f"{percent(m['recall'])}  ({right} of {m['revisits']} revisits closed)"),
        ("Recall at 100 % precision, score alone", percent(m["recall_at_full_precision"])),
        ("Max F1, score alone", percent(m["max_f1"])
                                + ("" if at_score is None else f"  (at score {at_score:.3f})")),
        ("Average precision, score alone", percent(m["average_precision"])),
        ("R@1, R@5, R@10", ", ".join(percent(m[f"recall_at_{k}"]) for k in RANKS)),
    ]  # fmt: skip
    if m["truth_missing"]:
        judged = [("Loop closures", str(m["closures"]))]
    rows = [
        *(row for row in judged if not row[1].startswith(UNDEFINED)),  # the summary says why
        ("Rejected by reason", ", ".join(rejected) or "none"),
    ]
    for step, what in (("encode", "Encode"), ("search", "Search and decision")):
        if m[f"{step}_p50_ms"] is not None:
            p50, p95 = (milliseconds(m[f"{step}_{p}_ms"]) for p in ("p50", "p95"))
            rows.append((f"{what}, per keyframe", f"p50 {p50}, p95 {p95}"))
    if m["keyframes_not_judged"] and not m["truth_missing"]:
        rows.append(("Not judged", f"{m['keyframes_not_judged']} keyframes without truth"))
    return rows


def percent(value: float | None, undefined: str = UNDEFINED) -> str:
    """A share in words, rounded down so that 100.0 % means all."""
    if value is None or math.isnan(value):
        return undefined
    return f"{math.floor(value * 1000 + 1e-9) / 10:.1f} %"


def number(value: float, form: str) -> str:
    """A number for tables; "-" where there is none."""
    return "-" if math.isnan(value) else format(value, form)


def rounded_percent(share: float) -> str:
    """A share as a number of percent for tables; "-" where it is not defined."""
    return number(100 * share, ".1f")


def milliseconds(value: float | None) -> str:
    """A duration in words."""
    return "not measured" if value is None else f"{value:.1f} ms"


def reason_text(reason: str) -> str:
    """The name of a Reason as prose."""
    return reason.lower().replace("_", " ")


def p50_p95(values: npt.ArrayLike) -> tuple[float, float]:
    """Median and 95th percentile of those that are not NaN; NaN without any."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    p50, p95 = np.percentile(known, (50, 95)) if len(known) else (math.nan, math.nan)
    return float(p50), float(p95)


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
