# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A tf tree read from a bag: the path of one frame in the frame at the tree's root."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from vpr_ros.evaluation.trajectory import Floats, Trajectory, TruthError


class Transforms:
    """Edges child -> parent with their poses over time."""

    def __init__(self) -> None:
        """Empty."""
        self._parent: dict[str, str] = {}
        self._stamps: defaultdict[str, list[int]] = defaultdict(list)  # by child
        self._rows: defaultdict[str, list[tuple[float, ...]]] = defaultdict(list)

    def add(self, parent: str, child: str, stamp_ns: int, row: tuple[float, ...]) -> None:
        """The pose `row` (x y z qx qy qz qw) of `child` in `parent` at a stamp."""
        self._parent[child.strip("/")] = parent.strip("/")
        self._stamps[child.strip("/")].append(stamp_ns)
        self._rows[child.strip("/")].append(row)

    def trajectory(self, frames: list[str]) -> tuple[Trajectory, str]:
        """The path of the first of `frames` that is in the tree, and `root -> frame` in words.

        Sampled at the stamps of its liveliest edge. TruthError if no frame is there or moves.
        """
        frame = next((f for f in frames if f in self._parent), None)
        if frame is None:
            raise TruthError(
                f"No frame of {', '.join(frames)} is in the bag's tf tree, which has "
                f"{', '.join(sorted(self._parent)) or 'no frame'}. Choose one with --truth-frame."
            )
        chain = self._chain(frame)
        edges = {
            child: Trajectory.of(self._stamps[child], np.array(self._rows[child]), f"tf '{child}'")
            for child in chain
        }
        liveliest = max(edges.values(), key=lambda edge: len(edge.stamps_ns))
        if len(liveliest.stamps_ns) < 2:
            raise TruthError(f"Frame '{frame}' never moves in the bag's tf tree.")
        stamps = liveliest.stamps_ns
        positions = np.zeros((len(stamps), 3))
        rotations = np.tile([0.0, 0.0, 0.0, 1.0], (len(stamps), 1))
        for child in chain:  # outwards in: from the frame to the root
            edge = _at(edges[child], stamps)
            positions = edge.positions + rotate(edge.rotations, positions)
            rotations = multiply(edge.rotations, rotations)
        path = f"{self._parent[chain[-1]]} -> {frame}"
        rows = np.hstack([positions, rotations])
        return Trajectory.of(stamps.tolist(), rows, f"tf {path}"), path

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while (parent := self._parent[chain[-1]]) in self._parent:
            if parent in chain:
                raise TruthError(f"The bag's tf tree runs in a circle at '{parent}'.")
            chain.append(parent)
        return chain


def _at(edge: Trajectory, stamps: npt.NDArray[np.int64]) -> Trajectory:
    """An edge at these stamps; one that was sent once is static."""
    if len(edge.stamps_ns) > 1:
        return edge.at(stamps)
    count = len(stamps)
    return Trajectory(
        stamps, np.repeat(edge.positions, count, 0), np.repeat(edge.rotations, count, 0)
    )


def multiply(a: Floats, b: Floats) -> Floats:
    """Product of quaternions (N, 4) x y z w: first b, then a."""
    av, aw, bv, bw = a[:, :3], a[:, 3:], b[:, :3], b[:, 3:]
    vector = aw * bv + bw * av + np.cross(av, bv)
    return np.hstack([vector, aw * bw - (av * bv).sum(axis=1, keepdims=True)])


def rotate(q: Floats, v: Floats) -> Floats:
    """Vectors (N, 3) turned by quaternions (N, 4) x y z w."""
    twice = 2.0 * np.cross(q[:, :3], v)
    return v + q[:, 3:] * twice + np.cross(q[:, :3], twice)
