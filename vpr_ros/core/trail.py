# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The last keyframes and the odometry between them, as evidence for or against a match.

One view of a corridor often looks like another; the views on the way to it less often do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vpr_ros.core.database import Database
from vpr_ros.core.descriptor_index import Vector
from vpr_ros.core.keyframe import Candidate, Place
from vpr_ros.core.pose import Pose, rows_of

LENGTH = 8  # keyframes, the new one included
FORGOTTEN = 100  # keyframes that are gone from the database before the way to them is, too
RADIUS_M, RADIUS_DEG = 1.5, 40.0  # of the map keyframe that shows a predicted pose
ONE_VIEW_M, ONE_VIEW_DEG = 3.0, 45.0  # at most, between two views of one place
LEVER = 2 * math.sin(math.radians(ONE_VIEW_DEG / 2))  # metres aside per metre, if so much turned
TURN_ERROR_DEG = 15.0  # of a turn estimated from two views
WORST_DEG_PER_M = 3.0  # drift of the heading that makes odometry worthless
REACH = 30  # keyframes to either side of a candidate that are searched for it
PINS = 5  # accepted closures that are remembered
LEAST_WAY_M = 1.0

ORDER = 8  # keyframes that may find one place after the other, the new one included
PACES = (0.5, 0.75, 1.0, 1.5, 2.0)  # keyframes of the map per keyframe, forwards or backwards
BESIDE = 2  # keyframes of the map to either side of where one is expected
ASIDE = 1  # the same, where views are compared
LUCK = 0.01  # an order that is as likely by chance says nothing

Poses = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # (N, 3) and (N, 3, 3)


class Trail:
    """The keyframes of one session whose poses are given in one frame."""

    def __init__(self) -> None:
        self._last: deque[tuple[Place, Vector]] = deque(maxlen=LENGTH - 1)
        self._way_m = 0.0  # since the trail began
        self._driven_m: dict[int, float] = {}  # the same at each keyframe, by sequence
        self._pins: deque[tuple[Place, Place]] = deque(maxlen=PINS)  # query and match
        # Of the new keyframe, by pin: its pose on the map, the room for views that differ [m], the
        # way since [m], and the way to the pin's match [m].
        self._expected: list[tuple[Pose, float, float, float]] = []

    def add(self, place: Place, descriptor: Vector) -> None:
        """Remember a keyframe; the trail restarts if odometry does not connect it."""
        if self._last and not self._last[-1][0].is_connected(place):
            self.clear()
        if place.pose is None:
            return
        if self._last and (before := self._last[-1][0].pose) is not None:
            self._way_m += before.distance_m(place.pose)
        self._driven_m[place.sequence] = self._way_m
        self._expected = self._where_expected(place.pose)
        self._last.append((place, descriptor))

    def clear(self) -> None:
        """Forget all keyframes."""
        self._last.clear()
        self._driven_m.clear()
        self._pins.clear()
        self._expected = []
        self._way_m = 0.0

    def pin(self, place: Place, match: Place) -> None:
        """Remember an accepted closure: later ones must be consistent with it."""
        self._pins.append((place, match))

    def shrink(self, database: Database) -> None:
        """Forget the distance driven to evicted keyframes, which can no longer be a match."""
        if len(self._driven_m) > len(database) + FORGOTTEN:
            self._driven_m = {s: m for s, m in self._driven_m.items() if s in database.graph}

    def drift(self, place: Place, match: Place, turn_deg: float | None = None) -> float | None:
        """How wrong odometry must be for two keyframes to show one view, 0 to 1.

        The larger of two values counts: the distance between the keyframes, beyond that of two
        views of one place, per metre driven; and the turn between them, beyond that of such views,
        per metre as a share of WORST_DEG_PER_M. With `turn_deg`, the turn that the views
        themselves show, only the difference from it counts as turn. The same is computed along the
        way from each of the last accepted closures, which is shorter; the second largest of these
        values counts, since one closure may be wrong. None where odometry does not connect the two
        keyframes.
        """
        if not place.is_connected(match) or place.pose is None or match.pose is None:
            return None
        began, ended = self._driven_m.get(match.sequence), self._driven_m.get(place.sequence)
        if began is None or ended is None or ended <= began:
            return None
        apart = (place.pose.distance_m(match.pose) - ONE_VIEW_M) / (ended - began)
        turned_deg = place.pose.angle_deg(match.pose)
        if turn_deg is None:
            turned = turned_deg - ONE_VIEW_DEG
        else:
            turned = abs(turned_deg - turn_deg) - TURN_ERROR_DEG
        direct = max(apart, turned / (WORST_DEG_PER_M * (ended - began)), 0.0)
        pinned = sorted(self._pinned_drift(match, *expected) for expected in self._expected)
        return min(max(direct, *pinned[-2:-1]) if len(pinned) > 1 else direct, 1.0)

    def _where_expected(self, here: Pose) -> list[tuple[Pose, float, float, float]]:
        """Where the accepted closures put the new keyframe on the map; see `_expected`."""
        found = []
        for query, match in self._pins:
            began, known = (self._driven_m.get(p.sequence) for p in (query, match))
            if began is None or known is None or query.pose is None or match.pose is None:
                continue  # it was evicted
            # Quaternions need not have length 1: a pose is valid if it is near enough.
            pose = match.pose.unit.compose(query.pose.unit.inverse().compose(here.unit))
            # The views of both closures may differ by ONE_VIEW_M, independently of each other.
            room_m = math.sqrt(2) * ONE_VIEW_M + LEVER * query.pose.distance_m(here)
            found.append((pose, room_m, self._way_m - began, known))
        return found

    def _pinned_drift(
        self, match: Place, pose: Pose, room_m: float, way_m: float, at_m: float
    ) -> float:
        """As `drift`, by the way back to an accepted closure and on to `match`."""
        assert match.pose is not None
        apart_m = pose.distance_m(match.pose) - room_m
        turned_deg = pose.angle_deg(match.pose) - 2 * ONE_VIEW_DEG
        way_m += abs(self._driven_m[match.sequence] - at_m)
        return max(apart_m, turned_deg / WORST_DEG_PER_M, 0.0) / max(way_m, LEAST_WAY_M)

    def scores(
        self, place: Place, candidates: Sequence[Candidate], database: Database
    ) -> list[float]:
        """The mean cosine of each candidate along the trail that leads to `place`.

        Each earlier keyframe of the trail is compared with the map keyframe nearest to the pose
        that odometry predicts for it from the candidate. It does not count where the map has none.
        """
        before = [(p, d) for p, d in self._last if p.is_connected(place) and p is not place]
        if not before or place.pose is None:
            return [c.score for c in candidates]
        positions, rotations = _poses([*(p for p, _ in before), place])
        facing = rotations[-1]
        # of the trail in the query's frame
        offset, turn = (positions[:-1] - positions[-1]) @ facing, facing.T @ rotations[:-1]
        newest = place.sequence - database.config.exclude_recent_keyframes
        within_m = float(np.linalg.norm(offset, axis=1).max()) + RADIUS_M
        near = [_near(c.place, newest, within_m, database) for c in candidates]
        places = list({p.sequence: p for group in near for p in group}.values())
        if not places:
            return [c.score for c in candidates]
        index = {p.sequence: i for i, p in enumerate(places)}
        member = np.full((len(candidates), max(map(len, near))), -1)  # (C, G) of the places
        own = np.zeros(len(candidates), int)
        for at, (candidate, group) in enumerate(zip(candidates, near, strict=True)):
            if candidate.place.sequence in index:
                own[at] = index[candidate.place.sequence]
                member[at, : len(group)] = [index[p.sequence] for p in group]
        position, rotation = _poses(places)
        predicted = (
            position[own, None] + offset @ rotation[own].transpose(0, 2, 1),
            rotation[own, None] @ turn,
        )
        found = _nearest(predicted, (position, rotation), member)  # (C, T)
        row, step = np.nonzero(found >= 0)
        used, where = np.unique(found[row, step], return_inverse=True)
        scores = np.array([c.score for c in candidates])
        if len(used):
            descriptors = database.descriptors([places[i] for i in used])
            trail = np.stack([d for _, d in before])
            cosines = np.einsum("nd,nd->n", trail[step], descriptors[where])
            scores += np.bincount(row, cosines, len(scores))
        means: list[float] = (scores / (1 + np.bincount(row, minlength=len(scores)))).tolist()
        return means


def in_order(before: Sequence[Place | None], match: Place, known: int) -> float:
    """The share of the preceding keyframes whose best candidates are in order with a match.

    `before` are the best candidates of the last keyframes, newest first. They are in order if the
    map was passed at one pace, forwards or backwards. Standing still does not count as an order,
    because an image that resembles many is found again and again. With `known` keyframes in the
    map, the probability of such an order by chance is a binomial tail for each pace (a contrario);
    an order that is too likely by chance counts as 0.
    """
    found = np.array([p.sequence if p and p.session == match.session else np.inf for p in before])
    paces = np.array([*PACES, *(-pace for pace in PACES)])[:, None]
    expected = match.sequence - paces * np.arange(1, len(before) + 1)
    most = int((np.abs(found - expected) <= BESIDE).sum(axis=1).max())
    chance = min(1.0, (2 * BESIDE + 1) / max(known, 1))
    luck = sum(
        math.comb(len(before), k) * chance**k * (1 - chance) ** (len(before) - k)
        for k in range(most, len(before) + 1)
    )
    return most / (ORDER - 1) if len(paces) * luck <= LUCK else 0.0


def sequence_score(
    before: Sequence[tuple[Place, Vector, float]], match: Place, database: Database
) -> float:
    """The similarity of the last keyframes to the map keyframes in order with a match, at most 1.

    `before` are the last keyframes, newest first, with their descriptors and backgrounds (see
    Database.background); they are not compared with each other. Each cosine is scaled from its
    background (0) to that of equal views (1), at the pace that fits best; missing keyframes count
    as 0 (after SeqSLAM, Milford and Wyeth, ICRA 2012).
    """
    if not before or match.sequence >= before[-1][0].sequence:
        return 0.0
    steps = np.arange(1, len(before) + 1)
    paces = np.array([*PACES, *(-pace for pace in PACES)])[:, None]
    near = database.neighbours(match, math.ceil(PACES[-1] * len(before)) + ASIDE)
    near = [p for p in near if p.sequence < before[-1][0].sequence]
    row = {p.sequence: i for i, p in enumerate(near)}
    zero = np.array([[background] for *_, background in before])
    cosines = np.stack([d for _, d, _ in before]) @ database.descriptors(near).T
    scaled = np.clip((cosines - zero) / np.maximum(1 - zero, 1e-6), -1, 1)  # (B, N)
    scaled = np.hstack((scaled, np.full((len(before), 1), -np.inf)))  # row -1: no such keyframe
    expected = np.rint(match.sequence - paces * steps).astype(int)  # (P, B)
    beside = expected[..., None] + np.arange(-ASIDE, ASIDE + 1)
    rows = np.array([row.get(s, -1) for s in beside.ravel().tolist()]).reshape(beside.shape)
    best = scaled[(steps - 1)[:, None], rows].max(axis=2)
    return float(np.where(np.isinf(best), 0.0, best).sum(axis=1).max()) / (ORDER - 1)


def _near(match: Place, newest: int, within_m: float, database: Database) -> list[Place]:
    """The keyframes around a match that a trail of this length can be compared with."""
    if match.pose is None:
        return []
    x, y, z = match.pose.x, match.pose.y, match.pose.z
    return [
        p
        for p in database.neighbours(match, REACH)
        if (pose := p.pose) is not None
        and abs(pose.x - x) <= within_m
        and abs(pose.y - y) <= within_m
        and abs(pose.z - z) <= within_m
        and p.sequence <= newest
        and p.pose_frame == match.pose_frame
    ]


def _nearest(
    predicted: Poses, known: Poses, member: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """For each of C x T poses the nearest of its group (C, G) of the known; -1: none is near.

    `member` has -1 where a group has no more.
    """
    count = len(member)
    position, rotation = known[0][member], known[1][member].reshape(count, -1, 9)
    distance_m = np.sqrt(((predicted[0][:, :, None] - position[:, None]) ** 2).sum(axis=3))
    trace = predicted[1].reshape(count, -1, 9) @ rotation.transpose(0, 2, 1)
    angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    inside = (distance_m <= RADIUS_M) & (angle <= np.radians(RADIUS_DEG)) & (member >= 0)[:, None]
    cost = np.where(inside, distance_m + angle, np.inf)  # (C, T, G)
    best = cost.argmin(axis=2)
    nearest: npt.NDArray[np.int64] = np.take_along_axis(member, best, axis=1)
    return np.where(inside.any(axis=2), nearest, -1)


def _poses(places: Sequence[Place]) -> Poses:
    """Positions [m] and rotation matrices of N places that have a pose."""
    values = rows_of(p.pose for p in places if p.pose is not None)
    x, y, z, w = (values[:, 3:] / np.sqrt((values[:, 3:] ** 2).sum(axis=1, keepdims=True))).T
    rotation = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return values[:, :3], np.stack(rotation, axis=1).reshape(-1, 3, 3)
