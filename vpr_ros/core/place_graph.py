# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which keyframes show one place: neighbours in time, joined by the loops closed so far."""

from __future__ import annotations

from collections import defaultdict

from vpr_ros.core.keyframe import Place

# Enough for laps driven back to back. With more, drift would join all places into one.
MAX_LOOPS = 2  # closed loops followed in a row
MAX_INHERITED = 64  # links of a keyframe from which on it inherits none: two hops reach the rest


class PlaceGraph:
    """Keyframes by sequence number, with a link for every closed loop."""

    def __init__(self) -> None:
        self._sessions: dict[int, int] = {}  # by sequence, rising
        self._links: defaultdict[int, set[int]] = defaultdict(set)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._sessions

    def add(self, place: Place) -> None:
        """Add a keyframe that is newer than all others."""
        self._sessions[place.sequence] = place.session

    def link(self, query: Place, match: Place) -> None:
        """Remember a closed loop; ignored if either keyframe has been removed."""
        if query.sequence in self._sessions and match.sequence in self._sessions:
            self._link(query.sequence, match.sequence)

    def join(self, place: Place, sequence: int, session: int) -> None:
        """Link a keyframe with another robot's keyframe, which may be unknown here."""
        self._sessions.setdefault(sequence, session)
        self._link(place.sequence, sequence)

    def links(self) -> list[tuple[int, int]]:
        """Every link once, as (older, newer) sequence numbers, in order."""
        return [(a, b) for a in sorted(self._links) for b in sorted(self._links[a]) if a < b]

    def same_place(self, a: Place, b: Place, reach: int) -> bool:
        """Whether two keyframes show one place, as far as is known.

        They do if they are at most `reach` keyframes apart in one session, or if closed loops
        connect them: the laps of a route show the same places again.
        """
        return any(self._close(s, b.sequence, reach) for s in self._linked(a.sequence, reach))

    def around(self, place: Place, reach: int) -> set[int]:
        """The sequence numbers of all keyframes that show the same place as this one."""
        sessions = self._sessions
        return {
            near
            for sequence in self._linked(place.sequence, reach)
            if (session := sessions.get(sequence)) is not None
            for near in range(sequence - reach, sequence + reach + 1)
            if sessions.get(near) == session
        }

    def _linked(self, sequence: int, reach: int) -> set[int]:
        """The keyframe itself and those that at most MAX_LOOPS closed loops lead to."""
        found = fringe = {sequence}
        for _ in range(MAX_LOOPS):
            fringe = {
                linked
                for start in fringe
                for near in range(start - reach, start + reach + 1)
                if near in self._links and self._close(near, start, reach)
                for linked in self._links[near]
            } - found
            found = found | fringe
        return found

    def remove(self, gone: set[int]) -> None:
        """Remove keyframes by sequence number, but never the oldest.

        Their links pass to the preceding keyframe, which looks alike.
        """
        heir = min(self._sessions)
        for sequence in [s for s in self._sessions if s <= max(gone)]:
            if sequence not in gone:
                heir = sequence
                continue
            for other in self._links.pop(sequence, ()):
                self._links[other].discard(sequence)
                same = other != heir and self._sessions[heir] == self._sessions[sequence]
                if same and max(len(self._links[n]) for n in (heir, other)) < MAX_INHERITED:
                    self._link(other, heir)
        for sequence in gone:
            del self._sessions[sequence]

    def _close(self, a: int, b: int, reach: int) -> bool:
        """Whether both are still here, in one session, and near each other in time."""
        sessions = self._sessions.get(a), self._sessions.get(b)
        return abs(a - b) <= reach and None not in sessions and sessions[0] == sessions[1]

    def _link(self, a: int, b: int) -> None:
        self._links[a].add(b)
        self._links[b].add(a)
