# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes on the trajectories that odometry gives, and the loop closures between them."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from vpr_ros.core.config import Config, param
from vpr_ros.core.errors import VprError
from vpr_ros.core.pose import Pose

STEP_BACK_S = 1.0  # stamps may be unordered by less; what lies farther back is another drive


class GraphError(VprError):
    """A pose graph cannot be made, read or written."""


@dataclasses.dataclass(frozen=True)
class GraphConfig(Config):
    """How far odometry and closures are trusted."""

    group: ClassVar[str] = "graph"

    odometry_position_m: float = param(
        0.1,
        "standard deviation of the odometry's position after one metre; grows with the square "
        "root of the distance",
        unit="m",
        minimum=1e-4,
        maximum=100.0,
    )
    odometry_rotation_deg: float = param(
        2.0,
        "the same for the odometry's rotation",
        unit="deg",
        minimum=1e-3,
        maximum=180.0,
    )
    closure_position_m: float = param(
        1.0,
        "standard deviation of the distance between the two views of a closure",
        unit="m",
        minimum=1e-2,
        maximum=100.0,
    )
    closure_rotation_deg: float = param(
        6.0,
        "standard deviation of the rotation between the two views of a closure",
        unit="deg",
        minimum=0.1,
        maximum=180.0,
    )
    max_speed: float = param(
        5.0,
        "odometry that moves faster counts as a jump or a restart, and a new trajectory begins",
        unit="m/s",
        minimum=0.1,
        maximum=1000.0,
    )
    min_agreeing: int = param(
        2,
        "number of agreeing closures needed to join a trajectory to the map",
        minimum=1,
        maximum=100,
    )
    window: int = param(
        2000,
        "number of newest keyframes that an update may move; older ones stay where they are",
        minimum=10,
        maximum=1_000_000,
    )
    max_closures: int = param(
        200,
        "maximum number of closures that one update solves for: the newest, plus others spread "
        "evenly; all other closures are judged by the result",
        minimum=10,
        maximum=100_000,
    )
    max_keyframes: int = param(
        20_000,
        "maximum number of keyframes, including those of the loaded map, and of closures; beyond "
        "it, the oldest are dropped, and the next save removes them from the file",
        minimum=100,
        maximum=1_000_000,
    )


@dataclasses.dataclass(frozen=True)
class GraphKeyframe:
    """A keyframe on its trajectory."""

    id: int
    stamp_ns: int
    odometry: Pose  # of the robot in the frame of its odometry
    trajectory: int  # number of the stretch without a jump; -1: of the loaded map
    travelled_m: float  # from the start of the trajectory
    driven: tuple[int, Pose] | None = None  # trajectory and odometry of one of the loaded map


@dataclasses.dataclass(frozen=True)
class GraphClosure:
    """Two keyframes, by position in the graph, that show one place."""

    query: int
    match: int
    rotation: Pose | None = None  # of the robot at the query in the robot at the match; at 0 0 0


@dataclasses.dataclass(frozen=True, eq=False)
class Correction:
    """The graph after an update."""

    poses: np.ndarray  # (N, 7) x y z qx qy qz qw of keyframes in the map; NaN: not on it yet
    verdicts: np.ndarray  # (M, 3) whether a closure holds, and how far it is off [m], [deg];
    # NaN: one side is not on the map yet

    @classmethod
    def none(cls) -> Correction:
        """That of an empty graph."""
        return cls(np.empty((0, 7)), np.empty((0, 3)))

    def of(self, keyframes: Sequence[int], closures: Sequence[int]) -> Correction:
        """That of some of them, by position, rising."""
        return Correction(
            self.poses[[i for i in keyframes if i < len(self.poses)]],
            self.verdicts[[i for i in closures if i < len(self.verdicts)]],
        )

    @property
    def on_map(self) -> np.ndarray:
        """(N,) whether each keyframe is on the map."""
        placed: np.ndarray = np.isfinite(self.poses[:, 0])
        return placed


def require_gtsam() -> None:
    """Raise GraphError where GTSAM is missing."""
    if importlib.util.find_spec("gtsam") is None:
        raise GraphError("The pose graph needs GTSAM. Install it: pip install 'vpr_ros[graph]'.")


def known_starts(keyframes: Sequence[GraphKeyframe], last: Correction) -> dict[int, Pose]:
    """The pose of each trajectory's odometry frame on the map, by the last pose of each.

    The first trajectory defines the map where nothing else does.
    """
    newest = {keyframes[k].trajectory: k for k in np.flatnonzero(last.on_map).tolist()}
    starts = {keyframes[0].trajectory: Pose.planar(0.0, 0.0, 0.0)} if keyframes else {}
    return starts | {
        trajectory: Pose(*last.poses[k].tolist()).compose(keyframes[k].odometry.inverse())
        for trajectory, k in newest.items()
    }


def poses_now(
    keyframes: Sequence[GraphKeyframe], last: Correction, starts: dict[int, Pose] | None = None
) -> np.ndarray:
    """Poses on the map, (N, 7): those of the last update, from which odometry leads on.

    `starts`, if it is not as the last update left it, also places trajectories joined since.
    """
    poses = np.full((len(keyframes), 7), np.nan)
    poses[: len(last.poses)] = last.poses
    starts = known_starts(keyframes, last) if starts is None else starts
    for k in np.flatnonzero(np.isnan(poses[:, 0])).tolist():
        if (start := starts.get(keyframes[k].trajectory)) is not None:
            poses[k] = start.compose(keyframes[k].odometry).values
    return poses


class PoseGraph:
    """Keyframes, and the closures between them."""

    def __init__(self, config: GraphConfig | None = None) -> None:
        """An empty graph; raises GraphError where GTSAM is missing."""
        require_gtsam()
        self.config = config or GraphConfig()
        self.revision = 0  # rises with every change
        self.keyframes: list[GraphKeyframe] = []
        self.closures: list[GraphClosure] = []
        self._index: dict[int, int] = {}
        self._pairs: set[tuple[int, int]] = set()  # of closures
        self._trajectory = 0
        self._frame: str | None = None

    def __len__(self) -> int:
        return len(self.keyframes)

    def index_of(self, id: int) -> int | None:
        """Position of a keyframe in the graph; None if it is not known."""
        return self._index.get(id)

    @property
    def trajectory(self) -> int:
        """Number of the trajectory that the robot is on."""
        return self._trajectory

    def is_first(self, trajectory: int) -> bool:
        """Whether the map is defined by this trajectory."""
        return not self.keyframes or self.keyframes[0].trajectory == trajectory

    def add_map(
        self, id: int, stamp_ns: int, pose: Pose, driven: tuple[int, Pose] | None = None
    ) -> None:
        """Add a keyframe of a loaded map; it does not move."""
        self._append(GraphKeyframe(id, stamp_ns, pose.unit, -1, 0.0, driven))

    def add_lost(self, id: int, stamp_ns: int, trajectory: int, odometry: Pose) -> None:
        """Add a keyframe of an earlier trajectory that is not on the loaded map yet."""
        here, last = odometry.unit, self.keyframes[-1] if self.keyframes else None
        way_m = 0.0
        if last is not None and last.trajectory == trajectory:
            way_m = last.travelled_m + here.distance_m(last.odometry)
        self._append(GraphKeyframe(id, stamp_ns, here, trajectory, way_m))

    def begin_after(self, trajectory: int) -> None:
        """Number the next trajectories from the one after this on."""
        self._trajectory = max(self._trajectory, trajectory + 1)

    def add_keyframe(self, id: int, stamp_ns: int, pose: Pose, frame: str = "") -> bool:
        """Add a keyframe with the pose that odometry gives; False if it begins a trajectory."""
        if id in self._index:
            return True
        here = pose.unit
        last = self.keyframes[-1] if self.keyframes else None
        if last is None or last.trajectory < 0:
            joined, travelled_m = False, 0.0
        else:
            step_m = here.distance_m(last.odometry)
            seconds = (stamp_ns - last.stamp_ns) / 1e9
            joined = frame == self._frame and seconds > -STEP_BACK_S
            # Half a metre more: two stamps may lie close together.
            joined = joined and step_m <= self.config.max_speed * abs(seconds) + 0.5
            travelled_m = last.travelled_m + step_m if joined else 0.0
            self._trajectory += not joined
        self._frame = frame
        self._append(GraphKeyframe(id, stamp_ns, here, self._trajectory, travelled_m))
        return joined

    def add_closure(self, query_id: int, match_id: int, rotation: Pose | None = None) -> bool:
        """Add a closure, once; False if one of its keyframes is not known."""
        query, match = self._index.get(query_id), self._index.get(match_id)
        if query is None or match is None or query == match:
            return False
        if (query, match) not in self._pairs:  # else two databases run, and both say it
            self._pairs.add((query, match))
            self.closures.append(GraphClosure(query, match, rotation and rotation.unit))
            self.revision += 1
        return True

    def shrink(self) -> tuple[list[int], list[int]] | None:
        """Drop what is beyond the bound, but not the first keyframe, from which the map counts.

        Returns the former positions of the keyframes and of the closures that stay; None if there
        is room for all.
        """
        most = self.config.max_keyframes
        if max(len(self.keyframes), len(self.closures)) <= most:
            return None
        # Some more than needed, so that it is not done for every new one.
        gone = max(0, len(self.keyframes) - most + most // 100) * (len(self.keyframes) > most)
        keyframes = [0, *range(1 + gone, len(self.keyframes))]
        now = {old: new for new, old in enumerate(keyframes)}
        closures = [i for i, c in enumerate(self.closures) if c.query in now and c.match in now]
        closures = closures[-(most - most // 100) :]
        self.closures = [
            dataclasses.replace(c, query=now[c.query], match=now[c.match])
            for c in (self.closures[i] for i in closures)
        ]
        self._pairs = {(c.query, c.match) for c in self.closures}
        self.keyframes = [self.keyframes[i] for i in keyframes]
        self._index = {keyframe.id: i for i, keyframe in enumerate(self.keyframes)}
        self.revision += 1
        return keyframes, closures

    def snapshot(self) -> tuple[list[GraphKeyframe], list[GraphClosure]]:
        """What `correct` needs, which it may take its time for."""
        return list(self.keyframes), list(self.closures)

    def _append(self, keyframe: GraphKeyframe) -> None:
        if keyframe.id not in self._index:
            self._index[keyframe.id] = len(self.keyframes)
            self.keyframes.append(keyframe)
            self.revision += 1
