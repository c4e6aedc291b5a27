# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pose graphs on disk, and as files that other back ends read.

A graph file is text, a line per keyframe and per closure, beside the map of the same name.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from vpr_ros.core.durable_file import FileStamp, write_durably
from vpr_ros.core.map_file import SUFFIX as MAP_SUFFIX
from vpr_ros.core.map_file import read_map
from vpr_ros.core.pose import Pose, rows_of
from vpr_ros.mapping.pose_graph import (
    Correction,
    GraphClosure,
    GraphConfig,
    GraphError,
    GraphKeyframe,
    PoseGraph,
    poses_now,
    require_gtsam,
)
from vpr_ros.mapping.relocalization import ViewOffsets

HEADER = "vpr_ros pose graph 1"
SUFFIX = ".vprgraph"
LONGEST_BYTES = 1_000_000_000
FEWEST_OFFSETS = 20  # closures on which the offset between views is measured


@dataclasses.dataclass(frozen=True)
class StoredKeyframe:
    """A keyframe of a saved graph."""

    id: int
    stamp_ns: int
    trajectory: int  # number of the stretch of odometry without a jump; -1: of an earlier map
    odometry: Pose
    pose: Pose | None  # on the map; None: its trajectory is not joined to the map


@dataclasses.dataclass(frozen=True)
class StoredClosure:
    """A closure of a saved graph, by keyframe ids."""

    query_id: int
    match_id: int
    accepted: bool
    rotation: Pose | None  # of the robot at the query in the robot at the match; None: unknown


@dataclasses.dataclass(frozen=True)
class StoredGraph:
    """A saved graph."""

    keyframes: tuple[StoredKeyframe, ...]
    closures: tuple[StoredClosure, ...]
    frame: str = ""  # of the poses on the map; empty: unknown


def graph_path(map_path: Path) -> Path:
    """The graph file that belongs to a map file."""
    return map_path.with_name(map_path.name.removesuffix(MAP_SUFFIX) + SUFFIX)


def save_graph(
    path: Path,
    snapshot: tuple[Sequence[GraphKeyframe], Sequence[GraphClosure]],
    correction: Correction,
    frame: str = "",
    known: FileStamp | None = None,
    overwrite: bool = True,
) -> FileStamp:
    """Write a graph, wholly or not at all; returns the stamp of the file.

    `frame`: of the poses on the map. Raises GraphError if the graph cannot be written or, unless
    `overwrite` is set, would replace a file whose stamp is not `known`.
    """
    keyframes, closures = snapshot
    held = np.zeros(len(closures), bool)
    held[: len(correction.verdicts)] = correction.verdicts[:, 0] == 1.0
    poses = poses_now(keyframes, correction).tolist()
    stored = StoredGraph(
        tuple(
            StoredKeyframe(
                k.id,
                k.stamp_ns,
                *(k.driven or (k.trajectory, k.odometry)),
                None if math.isnan(pose[0]) else Pose(*pose),
            )
            for k, pose in zip(keyframes, poses, strict=True)
        ),
        tuple(
            StoredClosure(
                keyframes[c.query].id,
                keyframes[c.match].id,
                accepted,
                c.rotation,
            )
            for c, accepted in zip(closures, held.tolist(), strict=True)
        ),
        _word(frame),
    )

    def check(current: FileStamp, beginning: bytes) -> None:
        if not overwrite and current != known:
            raise GraphError(
                f"{path} was written by another program since it was read or saved here, so it is "
                "not replaced. Give each graph node a map of its own, or move the file away."
            )
        if not beginning.startswith(HEADER.encode()):
            raise GraphError(f"{path} is no pose graph, so it is not replaced. Move it away.")

    def write(file: IO[bytes]) -> None:
        file.write(graph_text(stored).encode())

    try:
        return write_durably(path, write, check)
    except OSError as error:
        raise GraphError(
            f"Graph {path} cannot be written ({error.strerror}). Choose a folder that is writable "
            "and has enough space."
        ) from None


def map_places(map_path: Path, frame: str = "") -> tuple[dict[int, Pose], ViewOffsets | None]:
    """The places of a saved map, the pose of each keyframe by id, and its view offsets if known.

    From the graph file beside the map, or else from the poses in the map, of the session that
    has most. Raises GraphError or MapError, also where the map is not in `frame`; a map that does
    not exist yet has no places.
    """
    stored = _stored(map_path, frame)
    return {k.id: k.pose for k in stored.keyframes if k.pose is not None}, view_offsets(stored)


def view_offsets(graph: StoredGraph) -> ViewOffsets | None:
    """How far apart the two views of a closure are on a corrected map; None: too few closures."""
    poses = {k.id: k.pose for k in graph.keyframes}
    apart_m, apart_deg = [], []
    for closure in graph.closures:
        query, match = poses[closure.query_id], poses[closure.match_id]
        if closure.accepted and closure.rotation and query is not None and match is not None:
            said = match.compose(closure.rotation)
            apart_m.append(said.distance_m(query))
            apart_deg.append(said.angle_deg(query))
    if len(apart_m) < FEWEST_OFFSETS:
        return None
    position_m, rotation_deg = (
        float(np.sqrt(np.mean(np.square(x)))) for x in (apart_m, apart_deg)
    )
    # A distance in the plane has two axes, a turn of a robot one.
    return ViewOffsets(max(position_m / math.sqrt(2), 0.01), max(rotation_deg, 0.1))


def load_graph(map_path: Path, graph: PoseGraph, frame: str = "") -> Correction:
    """Put a saved map into an empty graph; returns where it is on the map. Raises as `map_places`.

    The whole of it: saved again, the graph has what it had, be it on the map or not.
    """
    stored, most = _stored(map_path, frame), graph.config.max_keyframes
    if max(len(stored.keyframes), len(stored.closures)) > most:
        raise GraphError(
            f"Graph {graph_path(map_path)} has {len(stored.keyframes)} keyframes and "
            f"{len(stored.closures)} closures; graph.max_keyframes is {most}. Raise it, or move "
            "the file away."
        )
    for k in stored.keyframes:
        if k.pose is not None:
            graph.add_map(k.id, k.stamp_ns, k.pose, (k.trajectory, k.odometry))
    placed = rows_of(keyframe.odometry for keyframe in graph.keyframes)
    for k in stored.keyframes:
        if k.pose is None:
            graph.add_lost(k.id, k.stamp_ns, k.trajectory, k.odometry)
    poses = np.full((len(graph), 7), np.nan)
    poses[: len(placed)] = placed
    graph.begin_after(max((k.trajectory for k in stored.keyframes), default=-1))
    verdicts: list[tuple[float, float, float]] = []
    for c in stored.closures:
        graph.add_closure(c.query_id, c.match_id, c.rotation)
        if len(graph.closures) > len(verdicts):
            known = max(graph.closures[-1].query, graph.closures[-1].match) < len(placed)
            verdicts.append((float(c.accepted) if known else math.nan, math.nan, math.nan))
    return Correction(poses, np.array(verdicts).reshape(-1, 3))


def _stored(map_path: Path, frame: str) -> StoredGraph:
    """The graph beside a map, or else what the map itself tells."""
    path = graph_path(map_path)
    if path.exists():
        graph = read_graph(path)
        if frame and graph.frame not in ("", _word(frame)):
            raise GraphError(
                f"Graph {path} is in frame '{graph.frame}', and map_frame is '{frame}'. Set "
                f"map_frame to '{graph.frame}', or move the file away."
            )
        return graph
    keyframes: list[StoredKeyframe] = []
    if map_path.exists():
        data = read_map(map_path)
        posed = ~np.isnan(data.poses).any(axis=1)
        sessions, counts = np.unique(data.sessions[posed], return_counts=True)
        if len(sessions):
            for row in np.flatnonzero(posed & (data.sessions == sessions[counts.argmax()])):
                pose = Pose(*map(float, data.poses[row]))
                id, stamp_ns = int(data.ids[row]), int(data.stamps_ns[row])
                keyframes.append(StoredKeyframe(id, stamp_ns, -1, pose, pose))
    return StoredGraph(tuple(keyframes), ())


def graph_text(graph: StoredGraph) -> str:
    """The contents of a graph file."""
    lines = [HEADER, *([f"frame {graph.frame}"] if graph.frame else [])]
    lines += ["# keyframe id stamp_ns trajectory odometry(x y z qx qy qz qw) map(the same)"]
    for k in graph.keyframes:
        poses = [*k.odometry.values, *(k.pose.values if k.pose else ())]
        lines.append(f"keyframe {k.id} {k.stamp_ns} {k.trajectory} " + _numbers(poses))
    lines.append("# closure query match accepted rotation(qx qy qz qw)")
    for c in graph.closures:
        turn = _numbers(c.rotation.values[3:]) if c.rotation else ""
        lines.append(f"closure {c.query_id} {c.match_id} {int(c.accepted)} {turn}".rstrip())
    return "\n".join(lines) + "\n"


def read_graph(path: Path) -> StoredGraph:
    """Read a graph file; raises GraphError naming the line that is wrong."""
    try:
        if not path.is_file():
            raise GraphError(f"Graph {path} does not exist.")
        if path.stat().st_size > LONGEST_BYTES:
            raise GraphError(f"Graph {path} is larger than {LONGEST_BYTES:,} bytes.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"Graph {path} cannot be read ({error}).") from None
    if not lines or lines[0] != HEADER:
        raise GraphError(f"{path} is no pose graph: its first line is not '{HEADER}'.")
    keyframes: dict[int, StoredKeyframe] = {}
    closures: list[StoredClosure] = []
    frame = ""
    for number, line in enumerate(lines[1:], 2):
        try:
            match line.split():
                case [] | ["#", *_]:
                    continue
                case ["frame", frame]:
                    pass
                case ["keyframe", *words]:
                    keyframe = _keyframe(words)
                    if keyframe.id in keyframes:
                        raise ValueError(f"keyframe {keyframe.id} comes twice")
                    keyframes[keyframe.id] = keyframe
                case ["closure", *words]:
                    closure = _closure(words)
                    if not {closure.query_id, closure.match_id} <= keyframes.keys():
                        raise ValueError("its keyframes are not in the graph")
                    closures.append(closure)
                case _:
                    raise ValueError("neither a keyframe nor a closure")
        except (ValueError, OverflowError) as error:
            raise GraphError(f"Graph {path}, line {number}: {error}.") from None
    return StoredGraph(tuple(keyframes.values()), tuple(closures), frame)


def tum_text(graph: StoredGraph) -> str:
    """The corrected trajectory in the format of TUM RGB-D: stamp [s] x y z qx qy qz qw."""
    placed = ((k.stamp_ns, k.pose) for k in graph.keyframes if k.pose is not None)
    return "".join(
        f"{stamp // 10**9}.{stamp % 10**9:09d} {_numbers(pose.values)}\n"
        for stamp, pose in sorted(placed, key=lambda row: row[0])
    )


def write_g2o(path: Path, graph: StoredGraph, config: GraphConfig) -> None:
    """Write the graph in g2o's text format, its vertices numbered from 0 in the graph's order.

    Closures that the graph has rejected are left out.
    """
    require_gtsam()
    # Only here: nodes that read graphs do without GTSAM and its memory.
    from vpr_ros.mapping.graph_correction import (
        closure_noise,
        closure_turn,
        gtsam,
        odometry_noise,
        to_pose3,
    )

    values, factors = gtsam.Values(), gtsam.NonlinearFactorGraph()
    number = {k.id: i for i, k in enumerate(graph.keyframes)}
    for i, keyframe in enumerate(graph.keyframes):
        values.insert(i, to_pose3((keyframe.pose or keyframe.odometry).values))
    for (i, a), (j, b) in itertools.pairwise(enumerate(graph.keyframes)):
        if a.trajectory == b.trajectory >= 0:
            way_m = a.odometry.distance_m(b.odometry)
            step = to_pose3(a.odometry.inverse().compose(b.odometry).values)
            factors.add(gtsam.BetweenFactorPose3(i, j, step, odometry_noise(way_m, config)))
    for c in graph.closures:
        if c.accepted:
            turn = to_pose3(closure_turn(c.rotation).values)
            noise = closure_noise(c.rotation is not None, config)
            ends = number[c.match_id], number[c.query_id]
            factors.add(gtsam.BetweenFactorPose3(*ends, turn, noise))
    path.touch()  # raises OSError, where GTSAM would not say that it cannot write
    gtsam.writeG2o(factors, values, str(path))


def _keyframe(words: Sequence[str]) -> StoredKeyframe:
    if len(words) not in (10, 17):
        raise ValueError(f"a keyframe has 10 or 17 values, this one {len(words)}")
    poses = [Pose(*part) for part in _sevens([float(w) for w in words[3:]])]
    if not all(pose.is_valid for pose in poses):
        raise ValueError("its pose is not one")
    id, stamp_ns, trajectory = map(int, words[:3])
    if not (0 < id < 2**64 and 0 <= stamp_ns < 2**63 and -1 <= trajectory < 2**31):
        raise ValueError("id, stamp or trajectory is out of range")
    return StoredKeyframe(id, stamp_ns, trajectory, poses[0], poses[1] if poses[1:] else None)


def _closure(words: Sequence[str]) -> StoredClosure:
    if len(words) not in (3, 7):
        raise ValueError(f"a closure has 3 or 7 values, this one {len(words)}")
    rotation = Pose(0.0, 0.0, 0.0, *map(float, words[3:])) if words[3:] else None
    if rotation is not None and not rotation.is_valid:
        raise ValueError("its rotation is not one")
    return StoredClosure(int(words[0]), int(words[1]), words[2] == "1", rotation)


def _word(text: str) -> str:
    """A name as one word of a line."""
    return "".join(text.split())


def _sevens(values: Sequence[float]) -> Iterator[Sequence[float]]:
    for start in range(0, len(values), 7):
        yield values[start : start + 7]


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.9g}" for value in values)
