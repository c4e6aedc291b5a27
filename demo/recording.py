# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the nodes published during a drive, read back from the second bag."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import Reader

from demo.topics import CLOSURES, DIAGNOSTICS, PARAMETERS, QUERIES, node_of, typestore

WANTED = (QUERIES, CLOSURES, PARAMETERS, DIAGNOSTICS)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the database said to one keyframe; stamps are on the drive's own clock."""

    stamp_ns: int  # of the keyframe's image
    reason: str  # as in vpr_msgs/Query, e.g. LOW_SCORE
    match_ns: int | None  # the best candidate's image, before the gates; None: no candidate
    score: float  # cosine of the best candidate; NaN without one
    message: str = ""
    latency_ms: float = math.nan  # image stamp to arrival of the answer


@dataclasses.dataclass(frozen=True)
class Closure:
    """A published loop closure; stamps are on the drive's own clock."""

    stamp_ns: int
    match_ns: int
    score: float
    inliers: int = 0
    latency_ms: float = math.nan  # image stamp to arrival of the closure


@dataclasses.dataclass(frozen=True)
class Recording:
    """Everything that scoring and report need."""

    answers: list[Answer]
    closures: list[Closure]
    sparsity: list[tuple[float, float]]  # (seconds into the drive, value) of every change
    diagnostics: dict[str, list[dict[str, str]]]  # by node, in order of arrival


def read_recording(bag: Path, offset_ns: int, begin_ns: int) -> Recording:
    """Read `bag`; `offset_ns` was added to the drive's stamps, which began at `begin_ns`."""
    store = typestore()
    query = store.types["vpr_msgs/msg/Query"]
    reasons = {v: k for k, v in vars(query).items() if k.isupper() and isinstance(v, int)}
    answers, closures = [], []
    changes: list[tuple[float, float]] = []
    diagnostics: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    with Reader(bag) as reader:
        wanted = [c for c in reader.connections if c.topic in WANTED]
        for connection, arrival_ns, raw in reader.messages(wanted):
            message: Any = store.deserialize_cdr(raw, connection.msgtype)
            if connection.topic == QUERIES:
                if message.query_id:
                    name = reasons[message.reason]
                    answers.append(_answer(message, name, arrival_ns, offset_ns))
            elif connection.topic == CLOSURES:
                closures.append(_closure(message, arrival_ns, offset_ns))
            elif connection.topic == PARAMETERS:
                when = (arrival_ns - offset_ns - begin_ns) * 1e-9
                changes += [(when, value) for value in _sparsity(message)]
            else:
                for status in message.status:
                    values = {entry.key: entry.value for entry in status.values}
                    diagnostics[node_of(status.name)].append(values)
    initial = float(diagnostics["encoder"][0]["sparsity"])
    return Recording(answers, closures, [(0.0, initial), *changes], dict(diagnostics))


def _ns(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def _answer(message: Any, reason: str, arrival_ns: int, offset_ns: int) -> Answer:
    stamp = _ns(message.header.stamp)
    best = message.candidates[0] if message.candidates else None
    return Answer(
        stamp_ns=stamp - offset_ns,
        reason=reason,
        match_ns=None if best is None else _ns(best.stamp) - offset_ns,
        score=math.nan if best is None else float(best.score),
        message=message.message,
        latency_ms=(arrival_ns - stamp) / 1e6,
    )


def _closure(message: Any, arrival_ns: int, offset_ns: int) -> Closure:
    stamp = _ns(message.header.stamp)
    return Closure(
        stamp_ns=stamp - offset_ns,
        match_ns=_ns(message.match_stamp) - offset_ns,
        score=float(message.score),
        inliers=int(message.inliers),
        latency_ms=(arrival_ns - stamp) / 1e6,
    )


def _sparsity(event: Any) -> list[float]:
    """The encoder's new sparsity, if that is what a parameter event tells."""
    if event.node != "/vpr/encoder":
        return []
    return [p.value.double_value for p in event.changed_parameters if p.name == "sparsity"]
