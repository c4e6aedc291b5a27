# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the ground truth: a topic of the bag, a TUM or KITTI file, or a CSV of pairs."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.bag import ODOMETRY, TF, Bag, stamp_ns
from vpr_ros.evaluation.images import to_pose
from vpr_ros.evaluation.trajectory import Trajectory, TruthError
from vpr_ros.evaluation.transforms import Transforms
from vpr_ros.evaluation.truth import LoopRule, PairTruth, PoseTruth, Truth

# How to reach the geometry_msgs/Pose in a message.
POSES = {
    ODOMETRY: lambda m: m.pose.pose,
    "geometry_msgs/msg/PoseStamped": lambda m: m.pose,
    "geometry_msgs/msg/PoseWithCovarianceStamped": lambda m: m.pose.pose,
}
NAMES = ("truth", "/gt", "vicon", "mocap", "optitrack")  # of topics that mean to be the truth
DRIFT = " (odometry: where it drifts, true loops count as wrong)"
FRAMES = ["base_link", "base_footprint", "body"]


@dataclasses.dataclass(frozen=True)
class TruthSource:
    """Ground truth as it was found, and where."""

    text: str  # what is taken, in words
    rule: LoopRule
    trajectory: Trajectory | None = None  # by stamp
    by_number: bool = False  # the trajectory's row is the image's number
    pairs: dict[int, list[int]] | None = None

    def of(self, stamps_ns: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]) -> Truth:
        """The truth of keyframes with these stamps and image numbers, both (N,)."""
        poses = None
        if self.trajectory is not None:
            poses = self._rows(numbers) if self.by_number else self.trajectory.at(stamps_ns)
        if self.pairs is not None:
            return PairTruth(numbers, self.pairs, self.rule, poses)
        assert poses is not None
        if not np.isfinite(poses.positions).any():
            raise TruthError(
                f"No keyframe has a pose within 0.2 s in {self.text}. Are its stamps those of "
                "the images?"
            )
        return PoseTruth(poses, self.rule)

    def _rows(self, numbers: npt.NDArray[np.int64]) -> Trajectory:
        assert self.trajectory is not None
        known = numbers < len(self.trajectory.positions)
        rows = np.where(known, numbers, 0)
        positions = np.where(known[:, None], self.trajectory.positions[rows], np.nan)
        rotations = np.where(known[:, None], self.trajectory.rotations[rows], np.nan)
        return Trajectory(numbers, positions, rotations)


def find_truth(
    bag: Bag, given: str, rule: LoopRule, odometry: str = "", frame: str = ""
) -> TruthSource:
    """The truth that `given` names (a file or a topic), or the best the bag holds.

    Of itself it takes a topic whose name says truth, then `odometry`, a pose topic, tf.
    TruthError or BagError if there is none.
    """
    if given and Path(given).expanduser().is_file():
        return _from_file(bag, Path(given).expanduser(), rule, odometry)
    if given:
        if not given.startswith("/") and given not in bag.types:
            raise TruthError(
                f"Ground truth '{given}' is neither a file nor a topic of {bag.path}."
            )
        topic = bag.require(given, *POSES, *TF)
    else:
        found = bag.of_type(*POSES)
        named = [t for t in found if _named(t)]
        choice = [*named, *([odometry] if odometry else []), *found, *bag.of_type(*TF)]
        if not choice:
            raise TruthError(
                f"Bag {bag.path} holds no odometry, pose or tf. Give --truth a TUM or KITTI file, "
                "or a CSV of image pairs (query,match)."
            )
        topic = choice[0]
    if bag.types[topic] in TF:
        return _from_tf(bag, topic, rule, frame)
    drifts = bag.types[topic] == ODOMETRY and not _named(topic)
    text = f"topic {topic}{DRIFT if drifts else ''}"
    return TruthSource(text, rule, _from_topic(bag, topic))


def _named(topic: str) -> bool:
    return any(name in topic.lower() for name in NAMES)


def _from_topic(bag: Bag, topic: str) -> Trajectory:
    reach, stamps, rows = POSES[bag.types[topic]], [], []
    for _, _, message in bag.messages([topic]):
        stamps.append(stamp_ns(message))
        rows.append(dataclasses.astuple(to_pose(reach(message))))
    return Trajectory.of(stamps, np.array(rows), f"Topic {topic}")


def _from_tf(bag: Bag, topic: str, rule: LoopRule, frame: str) -> TruthSource:
    tree = Transforms()
    static = [t for t in bag.of_type(*TF) if t.endswith("_static")]
    for _, _, message in bag.messages([topic, *static]):
        for edge in message.transforms:
            tree.add(edge.header.frame_id, edge.child_frame_id, stamp_ns(edge), _row(edge))
    trajectory, path = tree.trajectory([frame] if frame else FRAMES)
    return TruthSource(f"topic {topic} ({path})", rule, trajectory)


def _row(edge: Any) -> tuple[float, ...]:
    t, q = edge.transform.translation, edge.transform.rotation
    return (t.x, t.y, t.z, q.x, q.y, q.z, q.w)


def _from_file(bag: Bag, path: Path, rule: LoopRule, odometry: str) -> TruthSource:
    try:
        lines = [x for x in path.read_text().splitlines() if x.strip() and x.strip()[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        raise TruthError(f"Ground truth {path} cannot be read ({error}).") from None
    if lines and lines[0].replace(" ", "").startswith("query,match"):
        drawn = _from_topic(bag, odometry) if odometry else None
        return TruthSource(f"pairs of {path}", rule, drawn, pairs=_pairs(path, lines))
    try:
        table = np.array([[float(v) for v in x.replace(",", " ").split()] for x in lines])
    except ValueError:
        table = np.empty(0)
    if table.ndim == 2 and table.shape[1] == 8:
        # Seconds as text: a float would lose the nanoseconds.
        stamps = [_nanoseconds(x.replace(",", " ").split()[0]) for x in lines]
        return TruthSource(
            f"TUM file {path}", rule, Trajectory.of(stamps, table[:, 1:], f"TUM file {path}")
        )
    if table.ndim == 2 and table.shape[1] == 12:
        rows = _from_matrices(table.reshape(-1, 3, 4))
        trajectory = Trajectory.of(list(range(len(rows))), rows, f"KITTI file {path}")
        return TruthSource(f"KITTI file {path}", rule, trajectory, by_number=True)
    raise TruthError(
        f"Ground truth {path} is neither TUM (stamp x y z qx qy qz qw), KITTI (12 numbers an "
        "image) nor a CSV of pairs with the header query,match."
    )


def _pairs(path: Path, lines: list[str]) -> dict[int, list[int]]:
    pairs: dict[int, list[int]] = {}
    for row in csv.DictReader(lines, skipinitialspace=True):
        try:
            right = pairs.setdefault(int(row["query"]), [])
            if row["match"]:
                right.append(int(row["match"]))
        except (ValueError, TypeError):
            raise TruthError(
                f"Pairs file {path} has the line {','.join(map(str, row.values()))}; give image "
                "numbers, counted from 0 (an empty match: not known)."
            ) from None
    return pairs


def _nanoseconds(text: str) -> int:
    whole, _, part = text.partition(".")
    if "e" in text.lower():
        return round(float(text) * 1e9)
    return int(whole) * 10**9 + int((part + "0" * 9)[:9])


def _from_matrices(poses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows x y z qx qy qz qw (N, 7) of matrices [R | t] (N, 3, 4)."""
    r = poses[:, :, :3]
    # The four ways to a quaternion (Shepperd, 1978); per row the numerically largest.
    xx, yy, zz = r[:, 0, 0], r[:, 1, 1], r[:, 2, 2]
    sums = np.stack([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz], 1)
    a, b, c = r[:, 1, 0] + r[:, 0, 1], r[:, 0, 2] + r[:, 2, 0], r[:, 2, 1] + r[:, 1, 2]
    d, e, f = r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]
    ways = np.stack(
        [
            np.stack([sums[:, 0], a, b, d], 1),
            np.stack([a, sums[:, 1], c, e], 1),
            np.stack([b, c, sums[:, 2], f], 1),
            np.stack([d, e, f, sums[:, 3]], 1),
        ],
        1,
    )
    quaternions = ways[np.arange(len(r)), sums.argmax(axis=1)]
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    return np.hstack([poses[:, :, 3], quaternions])
