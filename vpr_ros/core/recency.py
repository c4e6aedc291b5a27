# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which keyframes are too recent to be a loop, judged by stamps, some of which may be wrong.

A robot never closes a loop with its own latest keyframes, but it may with those of another.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Iterable

# A recording played again steps back by the length of a drive. Two publishers, or messages out of
# order, differ by less than a second; and one stamp alone may simply be wrong.
SESSION_STEP_NS = 1_000_000_000
SESSION_WITNESSES = 3
# A longer gap is either a long stop, where little is lost by caution, or a wrong stamp.
LEAP_NS = 3600 * 1_000_000_000
MAX_RUNS = 64  # that are remembered; with random ids each keyframe would be a run


def session_has_ended(stamp_ns: int, last_ns: Collection[int]) -> bool:
    """Whether a stamp lies so far behind all of the last stamps that time has restarted."""
    return bool(last_ns) and all(stamp_ns < ns - SESSION_STEP_NS for ns in last_ns)


def first_recent(
    stamp_ns: int,
    session: int,
    newest_first: Iterable[tuple[int, int, int]],
    span_ns: int,
    count: int,
) -> int | None:
    """The lowest sequence that counts as recent at `stamp_ns`, as do all after it; None: none.

    `newest_first` gives (sequence, session, stamp in ns) of the previous keyframes. The last
    `count` are recent. So are those of this session whose stamps are within `span_ns` before or
    after this one, since stamps may be out of order. A stamp that leaps ahead by more than an hour
    does not tell the age of the last keyframes; they are then compared with the newest of them.
    """
    first, strangers, last = None, 0, []
    for position, (sequence, other_session, other_ns) in enumerate(newest_first):
        if strangers == SESSION_WITNESSES:
            break  # fewer may have a wrong stamp among right ones
        own = other_session == session
        if own and position < SESSION_WITNESSES:
            last.append(other_ns)
        near = abs(other_ns - stamp_ns) <= span_ns
        if last and stamp_ns - max(last) > max(span_ns, LEAP_NS):
            near = near or abs(other_ns - max(last)) <= span_ns
        if position < count or (own and near):
            first, strangers = sequence, 0
        else:
            strangers += 1
    return first


@dataclasses.dataclass
class Run:
    """One run of an encoder, judged by its own stamps only: each robot has its own clock."""

    first: int  # sequence number of its first keyframe
    session: int = -1  # -1: it has no keyframe yet
    last: deque[tuple[int, int]] = dataclasses.field(  # of the session: sequence, stamp in ns
        default_factory=lambda: deque[tuple[int, int]](maxlen=SESSION_WITNESSES)
    )
    before: int = -1  # the session before this one, if time stepped back
    before_ns: list[int] = dataclasses.field(default_factory=list)  # its last stamps

    def begun(self, runs: Runs) -> int:
        """The session; a new run gets one with its first keyframe."""
        if self.session < 0:
            self.session = runs.new_session()
        return self.session

    def observe(self, stamp_ns: int, runs: Runs) -> set[int]:
        """Start a new session if time stepped back; end it if only single stamps had.

        Returns the sequence numbers that turn out to belong to another session.
        """
        if session_has_ended(stamp_ns, [ns for _, ns in self.last]):
            self.before_ns = [ns for _, ns in self.last]
            self.before, self.session = self.session, runs.new_session()
            self.last.clear()
        elif (
            self.before_ns
            and len(self.last) < SESSION_WITNESSES
            and not session_has_ended(stamp_ns, self.before_ns)
        ):
            if self.session == runs.newest_session:
                runs.newest_session -= 1
            self.session, self.before_ns = self.before, []
            return {sequence for sequence, _ in self.last}
        return set()


class Runs:
    """The runs of the encoders that send keyframes, by number (keyframe.run_of)."""

    def __init__(self) -> None:
        self.newest_session = -1
        self._runs: dict[int, Run] = {}  # the one heard last comes last

    def new_session(self) -> int:
        """Start a session and return its number."""
        self.newest_session += 1
        return self.newest_session

    def get(self, number: int, next_sequence: int) -> Run:
        """The run of this number; if unknown, a new one that is not yet remembered."""
        return self._runs.get(number) or Run(next_sequence)

    def add(self, number: int, run: Run, sequence: int, stamp_ns: int) -> None:
        """Remember a run and its newest keyframe."""
        run.last.append((sequence, stamp_ns))
        self._runs.pop(number, None)
        self._runs[number] = run
        if len(self._runs) > MAX_RUNS:
            del self._runs[next(iter(self._runs))]

    def moved(self, sequences: int, sessions: int) -> Runs:
        """The same runs with their sequence and session numbers raised by these amounts."""
        runs = Runs()
        runs.newest_session = self.newest_session + sessions
        for number, run in self._runs.items():
            runs._runs[number] = dataclasses.replace(
                run,
                first=run.first + sequences,
                session=run.session + sessions,
                before=run.before + sessions,
                last=deque(((s + sequences, ns) for s, ns in run.last), SESSION_WITNESSES),
            )
        return runs
