# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What was found in the fleet, as a database for the LoopDetector, which judges it as at home."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.descriptor_index import Vector
from vpr_ros.core.errors import KeyframeError
from vpr_ros.core.keyframe import COUNTER_BITS, Candidate, Keyframe, Place, run_of
from vpr_ros.core.map_data import check_keyframe
from vpr_ros.core.place_graph import PlaceGraph
from vpr_ros.fleet.fleet import Entry, FleetKeyframe, Found, weights_of

OWN = 1 << 30  # the first number of an own session: own keyframes count as the newest
MAX_PLACES = 2000  # kept, about 90 MB; beyond, half of them are forgotten
MAX_NUMBERS = 20 * MAX_PLACES  # more than half of them and their links can need


class FleetPlaces(Database):
    """Places of other sessions as they are found, and the robot's own keyframes.

    A place's session and sequence number follow from its id, so that neighbours in time are
    neighbours here, whenever each of them was found.
    """

    def __init__(self, get: Callable[[Sequence[int]], list[FleetKeyframe]]) -> None:
        """`get` is that of a Fleet."""
        super().__init__(DatabaseConfig())
        self.known = 0  # keyframes in the fleet that could be found
        self.weights = ""  # of the robot's model, see weights_of
        self._get = get
        self._found: Sequence[Found] = ()  # for the keyframe in work
        self._numbers: dict[int, int] = {}  # of sessions
        self._unused = itertools.count()
        self._items: dict[int, tuple[Place, Vector, FleetKeyframe | None]] = {}  # by sequence

    def __len__(self) -> int:
        return self.known

    def expect(self, found: Sequence[Found]) -> None:
        """What was found for the keyframe that is processed next, best first."""
        self._found = found

    def fetch(self, entries: Sequence[Entry]) -> None:
        """Have the places of these entries here, those that are new by one request."""
        new = {e.id for e in entries if self._sequence(e.id) not in self._items}
        for item in self._get(sorted(new)) if new else ():
            if weights_of(item.keyframe.model, item.keyframe.model_digest) == self.weights:
                keyframe = dataclasses.replace(item.keyframe, thumbnail=None)  # nobody looks at it
                self._take(keyframe, dataclasses.replace(item, keyframe=keyframe, payload=""))
        for entry in entries:  # those in use are forgotten last
            if (known := self._items.pop(self._sequence(entry.id), None)) is not None:
                self._items[known[0].sequence] = known

    def whose(self, place: Place) -> FleetKeyframe:
        """The fleet's keyframe of a place that was found."""
        item = self._items[place.sequence][2]
        assert item is not None
        return item

    def check(self, keyframe: Keyframe) -> None:
        """Raise KeyframeError unless `add` would take this keyframe."""
        check_keyframe(keyframe)
        self._number(keyframe.id, OWN)
        if self._sequence(keyframe.id) in self._items:
            raise KeyframeError(f"Keyframe {keyframe.id} came twice and was ignored.")

    def add(self, keyframe: Keyframe) -> Place:
        """Add one of the robot's own."""
        if len(self._items) >= MAX_PLACES or len(self._numbers) >= MAX_NUMBERS:
            self._forget(run_of(keyframe.id))
        return self._take(keyframe, None)

    def search_older(
        self,
        descriptor: Vector,
        stamp_ns: int,
        count: int,
        without: Collection[int] = (),
        run: int = 0,
    ) -> list[Candidate]:
        """The best of what was found for this keyframe; the fleet has left out its session."""
        candidates: list[Candidate] = []
        for found in self._found:
            sequence = self._sequence(found.entry.id)
            if sequence in without or run_of(found.entry.id) == run:
                continue
            if sequence not in self._items:
                self.fetch([found.entry])
            # None: it was damaged, or has been deleted
            place, stored, item = self._items.get(sequence, (None, None, None))
            if place is not None and stored is not None and item is not None:
                candidates.append(Candidate(place, float(stored @ descriptor)))
            if len(candidates) == count:
                break
        return sorted(candidates, key=lambda c: -c.score)

    def descriptors(self, places: Iterable[Place]) -> Vector:
        """Their descriptors (N, D)."""
        return np.stack([self._items[place.sequence][1] for place in places])

    def neighbours(self, place: Place, reach: int) -> list[Place]:
        """The keyframes found of a place's session, at most `reach` before or after it."""
        near = range(place.sequence - reach, place.sequence + reach + 1)
        return [self._items[s][0] for s in near if s in self._items]

    def _take(self, keyframe: Keyframe, item: FleetKeyframe | None) -> Place:
        place = Place.of(keyframe, self._sequence(keyframe.id), self._number(keyframe.id))
        self._items[place.sequence] = place, np.asarray(keyframe.descriptor, np.float32), item
        self._join(self.graph, place, item)
        return place

    def _join(self, graph: PlaceGraph, place: Place, item: FleetKeyframe | None) -> None:
        """Into the graph, with the loops that other robots closed; their ends need not be here."""
        graph.add(place)
        for id in item.links if item is not None else ():
            graph.join(place, self._sequence(id), self._number(id))

    def _forget(self, run: int) -> None:
        """Keep the half that was used last, the loops between them, and what numbers they have.

        `run` has a number, but perhaps no keyframe yet.
        """
        links = self.graph.links()
        self._items = dict(list(self._items.items())[-MAX_PLACES // 2 :])
        runs = {run, *(run_of(place.id) for place, _, _ in self._items.values())}
        self._numbers = {r: number for r, number in self._numbers.items() if r in runs}
        self.graph = PlaceGraph()
        for place, _, item in self._items.values():
            self._join(self.graph, place, item)
        for a, b in links:
            if a in self._items and b in self._items:
                self.graph.link(self._items[a][0], self._items[b][0])

    def _number(self, id: int, first: int = 0) -> int:
        run = run_of(id)
        if run not in self._numbers:
            self._numbers[run] = first + next(self._unused)
        return self._numbers[run]

    def _sequence(self, id: int) -> int:
        return self._number(id) << COUNTER_BITS | id & (1 << COUNTER_BITS) - 1
