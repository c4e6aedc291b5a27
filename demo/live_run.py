# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A drive that the nodes watched live, read back and held against the exact poses."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from demo.floor_plan import Plan
from demo.topics import (
    BATTERY,
    CLOSURES,
    DIAGNOSTICS,
    INJECTED,
    KEYFRAMES,
    NODES,
    QUERIES,
    node_of,
)
from vpr_ros.core.database import DatabaseConfig
from vpr_ros.core.errors import VprError
from vpr_ros.core.loop_detector import Reason
from vpr_ros.evaluation.bag import Bag, bag_images, choose_topics, stamp_ns
from vpr_ros.evaluation.evaluated_drive import Drive, evaluate_drive
from vpr_ros.evaluation.replay import Answer
from vpr_ros.evaluation.truth import LoopRule
from vpr_ros.evaluation.truth_source import find_truth

RULE = LoopRule()
Status = dict[str, str]


@dataclasses.dataclass(frozen=True)
class LiveRun:
    """The live nodes' answers, judged, and what only live nodes can tell."""

    plan: Plan  # of the building
    drive: Drive
    play: dict[str, Any]  # as the player wrote it
    image_topic: str
    images: int
    score_threshold: float  # for the first keyframe
    latency_ms: np.ndarray  # (N,) from an image's stamp to the arrival of the answer
    sparsity: np.ndarray  # (N,) at which each keyframe was encoded
    battery: np.ndarray  # (M, 2) seconds into the drive, charge 0 to 1
    diagnostics: dict[str, list[Status]]  # by node, in order of arrival

    def seconds(self, index: int) -> float:
        """When a keyframe was taken, into the drive."""
        return float(self.drive.answers[index].stamp_ns - self.play["begin_ns"]) * 1e-9

    def sparsity_changes(self) -> list[tuple[float, float]]:
        """(seconds into the drive, sparsity) of the first keyframe at each new sparsity."""
        first = np.flatnonzero(np.diff(self.sparsity, prepend=math.nan))
        return [(self.seconds(i), float(self.sparsity[i])) for i in first]


def read_live_run(folder: Path, bag: Bag, plan: Plan) -> LiveRun:
    """Read what the live part left in `folder`; `bag` is the open drive through the plan.

    Raises VprError if a part is missing.
    """
    for part in ("play.json", "closures/metadata.yaml"):
        if not (folder / part).is_file():
            raise VprError(f"'{folder / part}' is missing: the drive did not end. Run it again.")
    play = json.loads((folder / "play.json").read_text())
    topics = choose_topics(bag)
    taken = {i.frame.stamp_ns: (i.number, i.recorded_ns) for i in bag_images(bag, topics)}
    with Bag(folder / "closures") as live:
        keyframes = {m.id: m for _, _, m in live.messages([KEYFRAMES])}
        own = (m for _, _, m in live.messages([CLOSURES]) if m.header.frame_id != INJECTED)
        closures = {m.query_id: m for m in own}
        queries = [(when, m) for _, when, m in live.messages([QUERIES]) if m.query_id in keyframes]
        diagnostics: dict[str, list[Status]] = {name: [] for name in NODES}
        for _, _, message in live.messages([DIAGNOSTICS]):
            for status in message.status:
                values = {entry.key: entry.value for entry in status.values}
                diagnostics.setdefault(node_of(status.name), []).append(values)
    if not queries:
        logs = f"{tempfile.gettempdir()}/vpr_demo_*/database.log"
        raise VprError(f"The database answered nothing; see the newest {logs}.")
    index = {message.query_id: i for i, (_, message) in enumerate(queries)}
    answers = []
    for _, query in queries:
        stamp = stamp_ns(query) - play["offset_ns"]
        if stamp not in taken:
            raise VprError(f"{folder}: its bags do not belong together. Run the demo again.")
        number, recorded_ns = taken[stamp]
        closure, best = closures.get(query.query_id), next(iter(query.candidates), None)
        answer = Answer(
            stamp_ns=stamp,
            reason=Reason(query.reason),
            # With the numbers of this drive's keyframes in place of their ids.
            message=re.sub(r"\d+", lambda m: str(index.get(int(m[0]), m[0])), query.message),
            best=None if best is None else index.get(best.id),
            score=math.nan if best is None else float(best.score),
            match=None if closure is None else index.get(closure.match_id),
            inliers=None if closure is None else int(closure.inliers),
            number=number,
            recorded_ns=recorded_ns,
        )
        answers.append(answer)
    encoded = [keyframes[query.query_id] for _, query in queries]
    charges = [
        ((stamp_ns(m) - play["begin_ns"]) * 1e-9, m.percentage)
        for _, _, m in bag.messages([BATTERY])
    ]
    return LiveRun(
        plan=plan,
        drive=evaluate_drive(
            answers,
            np.stack([message.descriptor for message in encoded]),
            find_truth(bag, "", RULE, topics.odometry),
            DatabaseConfig(),
        ),
        play=play,
        image_topic=topics.image,
        images=len(taken),
        score_threshold=float(encoded[0].calibration.score_threshold),
        latency_ms=np.array([(when - stamp_ns(m)) * 1e-6 for when, m in queries]),
        sparsity=np.array([message.sparsity for message in encoded]).round(3),
        battery=np.array(charges),
        diagnostics=diagnostics,
    )
