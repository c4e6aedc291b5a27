# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Corrects a pose graph by the loop closures that agree with its odometry and each other.

A closure says "the same place", to about a metre, and by how much the camera has turned. Wrong
closures are found by graduated non-convexity (Yang et al., RA-L 2020), as GTSAM implements it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vpr_ros.core.pose import Pose
from vpr_ros.mapping.pose_graph import (
    GraphClosure,
    GraphConfig,
    GraphKeyframe,
    apart,
    gtsam,
    to_pose3,
)

AGREE_M, AGREE_DEG = 3.0, 20.0  # two closures put a trajectory at the same place on the map
FREE = 1e3  # standard deviation of what is not known [m, rad]
FIXED = 1e-3  # standard deviation of what is not to move [m, rad]
CHI_SQUARED = {3: 11.34, 6: 16.81}  # 99th percentile, by degrees of freedom


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the graph says of a closure, and how far it is off."""

    accepted: bool
    offset_m: float
    turn_deg: float

    def same_as(self, other: Verdict | None) -> bool:
        """Whether the decision is the same."""
        return other is not None and other.accepted == self.accepted


@dataclasses.dataclass(frozen=True)
class Correction:
    """The graph after an update."""

    poses: list[Any]  # gtsam.Pose3 in the map, of every keyframe; None: not on the map yet
    verdicts: list[Verdict | None]  # of every closure; None: one side is not on the map yet

    def of(self, keyframes: Sequence[int], closures: Sequence[int]) -> Correction:
        """That of some of them, by position, rising."""
        return Correction(
            [self.poses[i] for i in keyframes if i < len(self.poses)],
            [self.verdicts[i] for i in closures if i < len(self.verdicts)],
        )


def correct(
    keyframes: Sequence[GraphKeyframe],
    closures: Sequence[GraphClosure],
    config: GraphConfig,
    before: Correction | None = None,
) -> Correction:
    """Solve the graph: the poses on the map, and which closures hold.

    Goes on from the last correction: what it placed before the newest `graph.window` keyframes
    stays, so that an update takes as long on the last day as on the first.
    """
    poses = list(before.poses) if before else []
    verdicts = list(before.verdicts) if before else []
    settled = sum(pose is not None for pose in poses)
    starts = _starts(keyframes, closures, poses, config)
    for frame in keyframes[len(poses) :]:
        start = starts.get(frame.trajectory)
        poses.append(None if start is None else start.compose(frame.odometry))
    for k, frame in enumerate(keyframes):  # of trajectories that were joined just now
        if poses[k] is None and frame.trajectory in starts:
            poses[k] = starts[frame.trajectory].compose(frame.odometry)

    first = min(max(len(keyframes) - config.window, 0), settled)
    free = [
        k >= first and frame.trajectory >= 0 and poses[k] is not None
        for k, frame in enumerate(keyframes)
    ]
    open_ = [i for i, c in enumerate(closures) if free[c.query] or free[c.match]]
    usable = [i for i in open_ if None not in (poses[closures[i].query], poses[closures[i].match])]
    chosen = [closures[i] for i in _spread(usable, config.max_closures)]
    if chosen:
        nodes = _skeleton(keyframes, chosen, free)
        solved = _solve(keyframes, chosen, nodes, poses, config)
        _spread_correction(keyframes, nodes, solved, poses)
    verdicts += [None] * (len(closures) - len(verdicts))
    for i in open_:
        verdicts[i] = _verdict(closures[i], poses, config)
    return Correction(poses, verdicts)


def _starts(
    keyframes: Sequence[GraphKeyframe],
    closures: Sequence[GraphClosure],
    poses: Sequence[Any],
    config: GraphConfig,
) -> dict[int, Any]:
    """The pose of each trajectory's odometry frame on the map, of those that are joined to it.

    The loaded map, or without one the first trajectory, defines the map. Another one is joined
    where most closures agree on it.
    """
    starts = _known_starts(keyframes, poses)
    trajectories = {k.trajectory for k in keyframes}
    while len(starts) < len(trajectories):
        votes: dict[int, list[Any]] = {}
        for closure in closures:
            query, match = keyframes[closure.query], keyframes[closure.match]
            there, turn = closure.match, closure_turn(closure.rotation)
            if query.trajectory in starts:
                query, match, there, turn = match, query, closure.query, turn.inverse()
            joins = query.trajectory not in starts and match.trajectory in starts
            if not joins or closure.rotation is None:
                continue
            pose = poses[there] if there < len(poses) else None
            pose = pose or starts[match.trajectory].compose(match.odometry)
            votes.setdefault(query.trajectory, []).append((pose.compose(turn), query.odometry))
        found = {t: _most_agreed(v, config.min_agreeing) for t, v in votes.items()}
        found = {t: start for t, start in found.items() if start is not None}
        if not found:
            break
        starts.update(found)
    return starts


def _known_starts(keyframes: Sequence[GraphKeyframe], poses: Sequence[Any]) -> dict[int, Any]:
    """The starts of trajectories by the last pose of each; of the first one, without any."""
    last = {
        frame.trajectory: (frame, pose)
        for frame, pose in zip(keyframes, poses, strict=False)
        if pose is not None
    }
    starts = {keyframes[0].trajectory: gtsam.Pose3()} if keyframes else {}
    return starts | {t: p.compose(k.odometry.inverse()) for t, (k, p) in last.items()}


def poses_now(keyframes: Sequence[GraphKeyframe], last: Correction) -> list[Any]:
    """Poses on the map: those of the last update, from which odometry leads on to newer ones."""
    starts = _known_starts(keyframes, last.poses)
    newer = ((starts.get(k.trajectory), k.odometry) for k in keyframes[len(last.poses) :])
    return [*last.poses, *(None if s is None else s.compose(odometry) for s, odometry in newer)]


def _most_agreed(votes: list[Any], fewest: int) -> Any:
    """The pose of an odometry frame that most closures agree on; None if too few do."""
    best, most = None, fewest - 1
    for here, odometry in votes[-200:]:
        shift = here.compose(odometry.inverse())
        agreed = sum(_near(shift.compose(o), h) for h, o in votes[-200:])
        if agreed > most:
            best, most = shift, agreed
    return best


def _near(a: Any, b: Any) -> bool:
    offset_m, turn_deg = apart(a, b)
    return offset_m <= AGREE_M and turn_deg <= AGREE_DEG


def _spread(indices: list[int], most: int) -> list[int]:
    """At most so many of them: the newest quarter of that number, and the rest evenly."""
    if len(indices) <= most:
        return indices
    newest = most // 4
    even = np.linspace(0, len(indices) - newest - 1, most - newest).round().astype(int)
    return [indices[i] for i in even] + indices[-newest:]


def _skeleton(
    keyframes: Sequence[GraphKeyframe], closures: Sequence[GraphClosure], free: Sequence[bool]
) -> list[int]:
    """The keyframes to solve for: ends of trajectories and of closures; the rest follows them."""
    kept = {k for c in closures for k in (c.query, c.match) if free[k]}
    for k, frame in enumerate(keyframes):
        if free[k]:
            last = k + 1 == len(keyframes) or keyframes[k + 1].trajectory != frame.trajectory
            if last or not free[k - 1] or keyframes[k - 1].trajectory != frame.trajectory:
                kept.add(k)
    return sorted(kept)


def _solve(
    keyframes: Sequence[GraphKeyframe],
    closures: Sequence[GraphClosure],
    nodes: list[int],
    poses: Sequence[Any],
    config: GraphConfig,
) -> dict[int, Any]:
    """The poses of the nodes under which the odometry and most closures hold."""
    graph, initial = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for k in nodes:
        initial.insert(k, poses[k])
    for k, before in zip(nodes, [None, *nodes], strict=False):
        frame = keyframes[k]
        if before is not None and keyframes[before].trajectory == frame.trajectory:
            between, noise = _odometry(keyframes[before], frame, config)
            graph.add(gtsam.BetweenFactorPose3(before, k, between, noise))
        elif k and keyframes[k - 1].trajectory == frame.trajectory:  # and that one stays
            between, noise = _odometry(keyframes[k - 1], frame, config)
            graph.add(gtsam.PriorFactorPose3(k, poses[k - 1].compose(between), noise))
        else:
            # The first trajectory of all defines the map; others are where closures put them.
            free = FREE if k else FIXED
            graph.add(gtsam.PriorFactorPose3(k, poses[k], _noise(free, free)))
    known = list(range(graph.size()))
    for closure in closures:
        graph.add(_closure_factor(closure, initial, poses, config))
    inner = gtsam.LevenbergMarquardtParams()
    inner.setMaxIterations(4)  # the next step of the outer loop goes on from there
    inner.setRelativeErrorTol(1e-3)
    parameters = gtsam.GncLMParams(inner)
    parameters.setKnownInliers(known)
    parameters.setScheduler(gtsam.GncScheduler.SuperLinear)
    solved = gtsam.GncLMOptimizer(graph, initial, parameters).optimize()
    return {k: solved.atPose3(k) for k in nodes}


def _odometry(first: GraphKeyframe, second: GraphKeyframe, config: GraphConfig) -> tuple[Any, Any]:
    """What odometry says between two keyframes of one trajectory, and its noise."""
    noise = odometry_noise(second.travelled_m - first.travelled_m, config)
    return first.odometry.between(second.odometry), noise


def _noise(rotation_rad: float, position_m: float) -> Any:
    return gtsam.noiseModel.Diagonal.Sigmas(np.repeat([rotation_rad, position_m], 3))


def odometry_noise(way_m: float, config: GraphConfig) -> Any:
    """GTSAM's noise of odometry after a way."""
    root_m = math.sqrt(max(way_m, 0.05))
    rotation_rad = math.radians(config.odometry_rotation_deg) * root_m
    return _noise(rotation_rad, config.odometry_position_m * root_m)


def closure_noise(rotation_known: bool, config: GraphConfig) -> Any:
    """GTSAM's noise of a closure."""
    rotation_rad = math.radians(config.closure_rotation_deg) if rotation_known else FREE
    return _noise(rotation_rad, config.closure_position_m)


def closure_turn(rotation: Pose | None) -> Any:
    """GTSAM's pose of the robot at the query of a closure in the robot at the match."""
    return to_pose3(rotation) if rotation is not None else gtsam.Pose3()


def _closure_factor(
    closure: GraphClosure, initial: Any, poses: Sequence[Any], config: GraphConfig
) -> Any:
    """The two views show one place; an end that stays gives a prior for the other."""
    turn = closure_turn(closure.rotation)
    noise = closure_noise(closure.rotation is not None, config)
    if not initial.exists(closure.match):
        return gtsam.PriorFactorPose3(closure.query, poses[closure.match].compose(turn), noise)
    if not initial.exists(closure.query):
        seen = poses[closure.query].compose(turn.inverse())
        return gtsam.PriorFactorPose3(closure.match, seen, noise)
    return gtsam.BetweenFactorPose3(closure.match, closure.query, turn, noise)


def _spread_correction(
    keyframes: Sequence[GraphKeyframe],
    nodes: list[int],
    solved: dict[int, Any],
    poses: list[Any],
) -> None:
    """Move the keyframes between two nodes by what moved the nodes, in proportion to the way."""
    for k in nodes:
        poses[k] = solved[k]
    for a, b in itertools.pairwise(nodes):
        first, second = keyframes[a], keyframes[b]
        if first.trajectory != second.trajectory:
            continue
        here = solved[a].compose(first.odometry.inverse())
        there = solved[b].compose(second.odometry.inverse())
        span_m = max(second.travelled_m - first.travelled_m, 1e-9)
        for k in range(a + 1, b):
            frame = keyframes[k]
            start, end = here.compose(frame.odometry), there.compose(frame.odometry)
            share = (frame.travelled_m - first.travelled_m) / span_m
            poses[k] = start.retract(share * start.localCoordinates(end))


def _verdict(closure: GraphClosure, poses: list[Any], config: GraphConfig) -> Verdict | None:
    """Whether the solved poses leave a closure as near as its views can be (chi-squared, 99 %)."""
    query, match = poses[closure.query], poses[closure.match]
    if query is None or match is None:
        return None
    offset_m, turn_deg = apart(match.compose(closure_turn(closure.rotation)), query)
    error, limit = (offset_m / config.closure_position_m) ** 2, CHI_SQUARED[3]
    if closure.rotation is not None:
        error, limit = error + (turn_deg / config.closure_rotation_deg) ** 2, CHI_SQUARED[6]
    return Verdict(error <= limit, offset_m, turn_deg)
