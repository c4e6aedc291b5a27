# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Corrects a pose graph by the loop closures that agree with its odometry and each other.

A closure says "the same place", to about a metre, and by how much the camera has turned. Wrong
closures are found by graduated non-convexity (Yang et al., RA-L 2020), as GTSAM implements it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vpr_ros.core.pose import (
    Pose,
    apart_rows,
    between_rows,
    compose_rows,
    inverse_rows,
    rows_of,
)
from vpr_ros.mapping.pose_graph import (
    Correction,
    GraphClosure,
    GraphConfig,
    GraphError,
    GraphKeyframe,
    known_starts,
    poses_now,
)

gtsam: Any = None  # an optional dependency, which only who solves a graph imports
with contextlib.suppress(ImportError):
    gtsam = importlib.import_module("gtsam")

AGREE_M, AGREE_DEG = 3.0, 20.0  # two closures put a trajectory at the same place on the map
FREE = 1e3  # standard deviation of what is not known [m, rad]
FIXED = 1e-3  # standard deviation of what is not to move [m, rad]
CHI_SQUARED = 16.81, 11.34  # 99th percentile for 6 and 3 degrees of freedom


def to_pose3(pose: Sequence[float]) -> Any:
    """GTSAM's pose of x y z qx qy qz qw."""
    x, y, z, qx, qy, qz, qw = pose
    return gtsam.Pose3(gtsam.Rot3.Quaternion(qw, qx, qy, qz), np.array([x, y, z]))


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
    before = before or Correction.none()
    settled = int(before.on_map.sum())
    poses = poses_now(keyframes, before, _starts(keyframes, closures, before, config))
    trajectories = np.array([k.trajectory for k in keyframes], int)
    first = min(max(len(keyframes) - config.window, 0), settled)
    free = (np.arange(len(keyframes)) >= first) & (trajectories >= 0) & ~np.isnan(poses[:, 0])
    ends = np.array([(c.match, c.query) for c in closures], int).reshape(-1, 2)
    open_ = np.flatnonzero(free[ends].any(axis=1))
    usable = open_[~np.isnan(poses[ends[open_], 0]).any(axis=1)]
    chosen = _spread(usable, config.max_closures)
    if len(chosen):
        nodes = _skeleton(trajectories, ends[chosen], free)
        # Odometry and way, as arrays: (N, 8), of what may move and the one before.
        driven, begin = np.full((len(keyframes), 8), np.nan), max(nodes[0] - 1, 0)
        driven[begin:] = [(*k.odometry.values, k.travelled_m) for k in keyframes[begin:]]
        solved = _solve(
            [closures[i] for i in chosen.tolist()], trajectories, driven, nodes, poses, config
        )
        _spread_correction(trajectories, driven, nodes, solved, poses)
    verdicts = np.full((len(closures), 3), np.nan)
    verdicts[: len(before.verdicts)] = before.verdicts
    verdicts[open_] = _verdicts([closures[i] for i in open_.tolist()], poses[ends[open_]], config)
    return Correction(poses, verdicts)


def _starts(
    keyframes: Sequence[GraphKeyframe],
    closures: Sequence[GraphClosure],
    before: Correction,
    config: GraphConfig,
) -> dict[int, Pose]:
    """The pose of each trajectory's odometry frame on the map, of those that are joined to it.

    The loaded map, or without one the first trajectory, defines the map. Another one is joined
    where most closures agree on it.
    """
    starts = known_starts(keyframes, before)
    trajectories = {k.trajectory for k in keyframes}
    while len(starts) < len(trajectories):
        # By the keyframe that asked, since whoever answers it also finds the place beside.
        votes: dict[int, dict[int, tuple[Pose, Pose]]] = {}
        for closure in closures:
            query, match = keyframes[closure.query], keyframes[closure.match]
            if (turn := closure.rotation) is None:
                continue
            there = closure.match
            if query.trajectory in starts:
                query, match, there, turn = match, query, closure.query, turn.inverse()
            if query.trajectory in starts or match.trajectory not in starts:
                continue
            pose = starts[match.trajectory].compose(match.odometry)
            if there < len(before.poses) and before.on_map[there]:
                pose = Pose(*before.poses[there].tolist())
            vote = pose.compose(turn), query.odometry
            votes.setdefault(query.trajectory, {})[closure.query] = vote
        found = {t: _most_agreed([*v.values()], config.min_agreeing) for t, v in votes.items()}
        joined = {t: start for t, start in found.items() if start is not None}
        if not joined:
            break
        starts.update(joined)
    return starts


def _most_agreed(votes: list[tuple[Pose, Pose]], fewest: int) -> Pose | None:
    """The pose of an odometry frame that most closures agree on; None if too few do."""
    best, most = None, fewest - 1
    heres, odometries = (rows_of(poses) for poses in zip(*votes[-200:], strict=True))
    for here, odometry in votes[-200:]:
        shift = here.compose(odometry.inverse())
        said = compose_rows(np.array(shift.values), odometries)
        offsets_m, turns_deg = apart_rows(said, heres)
        agreed = int(((offsets_m <= AGREE_M) & (turns_deg <= AGREE_DEG)).sum())
        if agreed > most:
            best, most = shift, agreed
    return best


def _spread(indices: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them: the newest quarter of that number, and the rest evenly."""
    if len(indices) <= most:
        return indices
    newest = most // 4
    even = np.linspace(0, len(indices) - newest - 1, most - newest).round().astype(int)
    return np.concatenate([indices[even], indices[len(indices) - newest :]])


def _skeleton(trajectories: np.ndarray, ends: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The keyframes to solve for: ends of trajectories and of closures; the rest follows them."""
    begins = np.diff(trajectories, prepend=-2) != 0
    begins |= ~np.roll(free, 1)
    ended = np.append(np.diff(trajectories) != 0, True)
    return np.union1d(np.flatnonzero(free & (begins | ended)), ends[free[ends]])


def _solve(
    closures: Sequence[GraphClosure],
    trajectories: np.ndarray,
    driven: np.ndarray,
    nodes: np.ndarray,
    poses: np.ndarray,
    config: GraphConfig,
) -> np.ndarray:
    """The poses of the nodes, (N, 7), under which the odometry and most closures hold."""
    graph, initial = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for k in nodes:
        initial.insert(k, to_pose3(poses[k]))
    # Odometry leads to a node from the one before, or else from a keyframe that stays.
    befores = np.append(-1, nodes[:-1])
    befores = np.where(_joined(trajectories, befores, nodes), befores, nodes - 1)
    between = compose_rows(inverse_rows(driven[befores, :7]), driven[nodes, :7])
    ways_m = driven[nodes, 7] - driven[befores, 7]
    joined = _joined(trajectories, befores, nodes)
    for before, k, step, way_m, on in zip(befores, nodes, between, ways_m, joined, strict=True):
        if not on:
            # The first trajectory of all defines the map; others are where closures put them.
            free = FREE if k else FIXED
            graph.add(gtsam.PriorFactorPose3(k, initial.atPose3(k), _noise(free, free)))
            continue
        step, noise = to_pose3(step), odometry_noise(way_m, config)
        if initial.exists(before):
            graph.add(gtsam.BetweenFactorPose3(before, k, step, noise))
        else:
            graph.add(gtsam.PriorFactorPose3(k, to_pose3(poses[before]).compose(step), noise))
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
    found = np.empty((len(nodes), 7))
    for row, k in zip(found, nodes, strict=True):
        pose = solved.atPose3(k)
        turn = pose.rotation().toQuaternion()
        row[:] = *pose.translation(), turn.x(), turn.y(), turn.z(), turn.w()
    # From a quaternion that is not quite 1, GTSAM would make one that is off by twice as much.
    found[:, 3:] /= np.linalg.norm(found[:, 3:], axis=1, keepdims=True)
    if not np.isfinite(found).all():
        raise GraphError("GTSAM found no finite solution.")
    return found


def _joined(trajectories: np.ndarray, befores: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Whether odometry joins each node to another keyframe; -1: there is none."""
    joined: np.ndarray = (befores >= 0) & (trajectories[befores] == trajectories[nodes])
    return joined


def _noise(rotation_rad: float, position_m: float) -> Any:
    return gtsam.noiseModel.Diagonal.Sigmas(np.array([rotation_rad] * 3 + [position_m] * 3))


def odometry_noise(way_m: float, config: GraphConfig) -> Any:
    """GTSAM's noise of odometry after a way."""
    root_m = math.sqrt(max(way_m, 0.05))
    rotation_rad = math.radians(config.odometry_rotation_deg) * root_m
    return _noise(rotation_rad, config.odometry_position_m * root_m)


@functools.lru_cache
def closure_noise(rotation_known: bool, config: GraphConfig) -> Any:
    """GTSAM's noise of a closure."""
    rotation_rad = math.radians(config.closure_rotation_deg) if rotation_known else FREE
    return _noise(rotation_rad, config.closure_position_m)


def closure_turn(rotation: Pose | None) -> Pose:
    """The robot at the query of a closure in the robot at the match."""
    return rotation or Pose.planar(0.0, 0.0, 0.0)


def _closure_factor(
    closure: GraphClosure, initial: Any, poses: np.ndarray, config: GraphConfig
) -> Any:
    """The two views show one place; an end that stays gives a prior for the other."""
    turn = to_pose3(closure_turn(closure.rotation).values)
    noise = closure_noise(closure.rotation is not None, config)
    if not initial.exists(closure.match):
        seen = to_pose3(poses[closure.match]).compose(turn)
        return gtsam.PriorFactorPose3(closure.query, seen, noise)
    if not initial.exists(closure.query):
        seen = to_pose3(poses[closure.query]).compose(turn.inverse())
        return gtsam.PriorFactorPose3(closure.match, seen, noise)
    return gtsam.BetweenFactorPose3(closure.match, closure.query, turn, noise)


def _spread_correction(
    trajectories: np.ndarray,
    driven: np.ndarray,
    nodes: np.ndarray,
    solved: np.ndarray,
    poses: np.ndarray,
) -> None:
    """Move the keyframes between two nodes by what moved the nodes, in proportion to the way."""
    poses[nodes] = solved
    between = np.setdiff1d(np.arange(nodes[0], nodes[-1]), nodes)
    after = np.searchsorted(nodes, between)
    a, b = nodes[after - 1], nodes[after]
    same = _joined(trajectories, a, b)
    between, a, b = between[same], a[same], b[same]
    odometry, way_m = driven[:, :7], driven[:, 7]
    start, end = (
        compose_rows(poses[k], compose_rows(inverse_rows(odometry[k]), odometry[between]))
        for k in (a, b)
    )
    share = (way_m[between] - way_m[a]) / np.maximum(way_m[b] - way_m[a], 1e-9)
    poses[between] = between_rows(start, end, share)


def _verdicts(
    closures: Sequence[GraphClosure], ends: np.ndarray, config: GraphConfig
) -> np.ndarray:
    """Whether the solved poses leave a closure as near as its views can be (chi-squared, 99 %).

    `ends`: (M, 2, 7) poses of match and query; returns rows of `Correction.verdicts`.
    """
    turns = rows_of(closure_turn(c.rotation) for c in closures)
    turned = np.array([c.rotation is not None for c in closures], bool)
    offset_m, turn_deg = apart_rows(compose_rows(ends[:, 0], turns), ends[:, 1])
    error = (offset_m / config.closure_position_m) ** 2
    error += turned * np.nan_to_num(turn_deg / config.closure_rotation_deg) ** 2
    holds = np.where(np.isnan(error), np.nan, error <= np.where(turned, *CHI_SQUARED))
    return np.stack([holds, offset_m, turn_deg], axis=1)
