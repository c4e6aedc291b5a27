# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the ground truth: a topic of the bag, a file of poses, or a CSV of pairs."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from vpr_ros.evaluation.bag import ODOMETRY, TF, Bag, stamp_ns, to_pose
from vpr_ros.evaluation.search import Indices
from vpr_ros.evaluation.truth import (
    LoopRule,
    Trajectory,
    Truth,
    TruthError,
    no_truth,
    pair_truth,
    pose_truth,
)

# How to reach the geometry_msgs/Pose in a message.
POSES: dict[str, Callable[[Any], Any]] = {
    ODOMETRY: lambda m: m.pose.pose,
    "geometry_msgs/msg/PoseStamped": lambda m: m.pose,
    "geometry_msgs/msg/PoseWithCovarianceStamped": lambda m: m.pose.pose,
}
NAMES = ("truth", "/gt", "vicon", "mocap", "optitrack")  # in topics that carry ground truth
DRIFT = " (odometry: where it drifts, true loops count as wrong)"
WAY_OUT = (
    "For precision and recall give --truth: poses of the camera (a topic, or a TUM, KITTI or "
    "EuRoC file), or a CSV of image pairs (query,match)."
)
EUROC = (8, 17)  # columns of vicon0 and of state_groundtruth_estimate0
EUROC_POSE = [1, 2, 3, 5, 6, 7, 4]  # columns x y z qx qy qz qw
NANOSECONDS = 1e15, 9.2e18  # stamps between are no seconds; beyond, they do not fit into int64
MOST_S = 9.2e9  # the same limit in seconds
FRAMES = ["base_link", "base_footprint", "body"]


@dataclasses.dataclass(frozen=True)
class TruthSource:
    """Ground truth as it was found, and where."""

    text: str  # what is used, in words
    rule: LoopRule
    trajectory: Trajectory | None = None  # by stamp
    by_number: bool = False  # the trajectory's row is the image's number
    pairs: dict[int, list[int]] | None = None
    asked: bool = True  # by the user, who is told if it does not fit
    missing: str = ""  # why there is no truth, in a sentence

    def of(self, stamps_ns: Indices, numbers: Indices) -> Truth:
        """The truth of keyframes with these stamps and image numbers, both (N,)."""
        if self.missing:
            return no_truth(len(stamps_ns), self.missing)
        poses = None
        if self.trajectory is not None:
            by_number = self.by_number
            poses = self.trajectory.rows(numbers) if by_number else self.trajectory.at(stamps_ns)
        if self.pairs is not None:
            if not any(0 <= number <= numbers.max(initial=-1) for number in self.pairs):
                raise TruthError(
                    f"No query in {self.text} is an image of the drive; these have the numbers 0 "
                    f"to {numbers.max(initial=-1)}."
                )
            return pair_truth(numbers, self.pairs, self.rule, poses)
        assert poses is not None
        if not np.isfinite(poses.positions).any():
            why = (
                f"No keyframe has a pose within 0.2 s in {self.text}. Are its stamps those of "
                "the images?"
            )
            if self.asked:
                raise TruthError(why)
            return no_truth(len(stamps_ns), why)
        return pose_truth(poses, self.rule)


def find_truth(
    bag: Bag, given: str, rule: LoopRule, odometry: str = "", frame: str = ""
) -> TruthSource:
    """The truth that `given` names (a file or a topic), or the best that the bag holds.

    By itself it takes a topic whose name says truth, then `odometry`, a pose topic, tf, or says
    what is missing; with `frame`, the moving frame of tf, it takes tf. TruthError or BagError if
    what was asked for cannot be used.
    """
    file = os.path.expanduser(given)  # unlike Path.expanduser, never raises
    is_file, transforms = os.path.isfile(file), bag.of_type(*TF)
    if frame and (is_file or bag.types.get(given) in POSES or not transforms):
        raise TruthError(
            f"--truth-frame {frame} names a frame of tf, which {given or bag.path} does not hold. "
            "Leave it out."
        )
    if is_file:
        return _from_file(bag, Path(file), rule, odometry)
    if given:
        if not given.startswith("/") and given not in bag.types:
            raise TruthError(
                f"Ground truth '{given}' is neither a file nor a topic of {bag.path}."
            )
        return _of_topic(bag, bag.require(given, *POSES, *TF), rule, frame)
    found = [] if frame else [*filter(None, [odometry]), *bag.of_type(*POSES)]
    named = [t for t in found if _is_named_truth(t)]
    why = f"Bag {bag.path} holds no odometry, pose or tf."
    for topic in dict.fromkeys((*named, *found, *transforms)):
        try:
            source = _of_topic(bag, topic, rule, frame)
        except TruthError as error:  # such as tf of nothing but the sensors' mounts
            why = str(error)
        else:
            return dataclasses.replace(source, asked=bool(frame))
    if frame:
        raise TruthError(why)
    return TruthSource("none", rule, missing=why)


def require_truth(truth: TruthSource | Truth) -> None:
    """TruthError with the way out if nothing is known."""
    if truth.missing:
        raise TruthError(f"{truth.missing} {WAY_OUT}")


def _of_topic(bag: Bag, topic: str, rule: LoopRule, frame: str) -> TruthSource:
    if bag.types[topic] in TF:
        trajectory, path = _from_tf(bag, topic, [frame] if frame else FRAMES)
        return TruthSource(f"topic {topic} ({path})", rule, trajectory)
    drifts = bag.types[topic] == ODOMETRY and not _is_named_truth(topic)
    text = f"topic {topic}{DRIFT if drifts else ''}"
    return TruthSource(text, rule, _from_topic(bag, topic))


def _is_named_truth(topic: str) -> bool:
    return any(name in topic.lower() for name in NAMES)


def _from_topic(bag: Bag, topic: str) -> Trajectory:
    reach, stamps, rows = POSES[bag.types[topic]], [], []
    for _, _, message in bag.messages([topic]):
        stamps.append(stamp_ns(message))
        rows.append(dataclasses.astuple(to_pose(reach(message))))
    return Trajectory.of(stamps, np.array(rows), f"Topic {topic}")


def _from_tf(bag: Bag, topic: str, frames: list[str]) -> tuple[Trajectory, str]:
    """The path of the first of `frames` in the frame at the root of its tree, and their names.

    Sampled at the stamps of the edge that was sent most often.
    """
    parent: dict[str, str] = {}
    stamps: defaultdict[str, list[int]] = defaultdict(list)  # by child frame
    rows: defaultdict[str, list[tuple[float, ...]]] = defaultdict(list)
    static = [t for t in bag.of_type(*TF) if t.endswith("_static")]
    for _, _, message in bag.messages([topic, *static]):
        for edge in message.transforms:
            child = edge.child_frame_id.strip("/")
            parent[child] = edge.header.frame_id.strip("/")
            stamps[child].append(stamp_ns(edge))
            t, q = edge.transform.translation, edge.transform.rotation
            rows[child].append((t.x, t.y, t.z, q.x, q.y, q.z, q.w))
    frame = next((f for f in frames if f in parent), None)
    if frame is None:
        raise TruthError(
            f"No frame of {', '.join(frames)} is in the bag's tf tree, which has "
            f"{', '.join(sorted(parent)) or 'no frame'}. Choose one with --truth-frame."
        )
    chain = [frame]  # from the frame to the root
    while (above := parent[chain[-1]]) in parent:
        if above in chain:
            raise TruthError(f"The bag's tf tree runs in a circle at '{above}'.")
        chain.append(above)
    edges = [Trajectory.of(stamps[c], np.array(rows[c]), f"tf '{c}'") for c in chain]
    when = max((edge.stamps_ns for edge in edges), key=len)
    if len(when) < 2:
        raise TruthError(f"Frame '{frame}' never moves in the bag's tf tree.")
    positions, rotations = np.zeros((len(when), 3)), Rotation.identity(len(when))
    known = np.ones(len(when), bool)
    for edge in edges:
        # An edge that was sent once is static.
        at = edge.at(when) if len(edge.stamps_ns) > 1 else edge.rows(np.zeros(len(when), np.int64))
        known &= np.isfinite(at.positions).all(axis=1)
        turn = Rotation.from_quat(np.where(known[:, np.newaxis], at.rotations, (0, 0, 0, 1)))
        positions = at.positions + turn.apply(positions)
        rotations = turn * rotations
    positions[~known] = np.nan
    path = f"{parent[chain[-1]]} -> {frame}"
    poses = np.hstack([positions, rotations.as_quat()])
    return Trajectory.of(when.tolist(), poses, f"tf {path}"), path


def _from_file(bag: Bag, path: Path, rule: LoopRule, odometry: str) -> TruthSource:
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [x for x in text.splitlines() if x.strip() and x.strip()[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        raise TruthError(f"Ground truth {path} cannot be read ({error}).") from None
    if lines and [name.strip() for name in lines[0].split(",")][:2] == ["query", "match"]:
        drawn = _from_topic(bag, odometry) if odometry else None
        return TruthSource(f"pairs of {path}", rule, drawn, pairs=_pairs(path, lines))
    rows = [line.replace(",", " ").split() for line in lines]
    try:
        table = np.array(rows, np.float64)
    except ValueError:
        table = np.empty(0)
    first, last = NANOSECONDS
    in_ns = table.ndim == 2 and bool(((first < table[:, 0]) & (table[:, 0] < last)).all())
    # TUM's and Vicon's lines have as many values; only EuRoC has commas, and puts qw first.
    if in_ns and table.shape[1] in EUROC and "," in lines[0]:
        text = f"EuRoC file {path}"
        stamps = [int(Decimal(row[0])) for row in rows]
        return TruthSource(text, rule, Trajectory.of(stamps, table[:, EUROC_POSE], text))
    if table.ndim == 2 and table.shape[1] == 8:
        odd = np.flatnonzero(~(np.abs(table[:, 0]) < MOST_S))
        if len(odd):
            raise TruthError(
                f"TUM file {path} has the stamp {rows[odd[0]][0]}; TUM's stamps are seconds. "
                "Divide nanoseconds by 10^9."
            )
        # Not from the table: a float would lose the nanoseconds.
        stamps = [int(Decimal(row[0]) * 10**9) for row in rows]
        text = f"TUM file {path}"
        return TruthSource(text, rule, Trajectory.of(stamps, table[:, 1:], text))
    if table.ndim == 2 and table.shape[1] == 12:
        text = f"KITTI file {path}"
        poses = _from_matrices(table.reshape(-1, 3, 4), text)
        numbers = list(range(len(poses)))
        return TruthSource(text, rule, Trajectory.of(numbers, poses, text), by_number=True)
    raise TruthError(
        f"Ground truth {path} is neither TUM (stamp x y z qx qy qz qw), KITTI (12 numbers an "
        "image), EuRoC (nanoseconds,x,y,z,qw,qx,qy,qz) nor a CSV of pairs with the header "
        "query,match."
    )


def _pairs(path: Path, lines: list[str]) -> dict[int, list[int]]:
    pairs: dict[int, list[int]] = {}
    for row in csv.reader(lines[1:]):
        try:
            query, match = row[:2]
            right = pairs.setdefault(int(query), [])
            if match.strip():
                right.append(int(match))
        except ValueError:
            raise TruthError(
                f"Pairs file {path} has the line {','.join(row)}; give image numbers, counted "
                "from 0 (an empty match: not known)."
            ) from None
    return pairs


def _from_matrices(poses: npt.NDArray[np.float64], source: str) -> npt.NDArray[np.float64]:
    """Rows x y z qx qy qz qw (N, 7) of matrices [R | t] (N, 3, 4)."""
    try:
        rotations = Rotation.from_matrix(poses[:, :, :3])
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise TruthError(f"{source} holds a matrix that is not a rotation ({reason}).") from None
    return np.hstack([poses[:, :, 3], rotations.as_quat()])
