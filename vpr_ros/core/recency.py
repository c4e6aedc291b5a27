# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which keyframes are too recent to be a loop, judged by stamps of which some may be wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable

# A recording played again steps back by the length of a drive. Two publishers, or messages out of
# order, differ by less than a second; and one stamp alone may simply be wrong.
SESSION_STEP_NS = 1_000_000_000
SESSION_WITNESSES = 3
# A longer gap is either a long stop, where little is lost by caution, or a wrong stamp.
LEAP_NS = 3600 * 1_000_000_000


def session_has_ended(stamp_ns: int, last_ns: Collection[int]) -> bool:
    """Does a stamp lie so far behind all of the last stamps that time has started anew?"""
    return bool(last_ns) and all(stamp_ns < ns - SESSION_STEP_NS for ns in last_ns)


def first_recent(
    stamp_ns: int,
    session: int,
    newest_first: Iterable[tuple[int, int, int]],
    span_ns: int,
    count: int,
) -> int | None:
    """The lowest sequence that counts as recent at `stamp_ns`, as do all after it; None: none.

    `newest_first` gives (sequence, session, stamp in ns) of the keyframes before. The last `count`
    are recent. So are those of this session whose stamps lie within `span_ns` before or after this
    one, since stamps may be out of order. A stamp that leaps ahead by more than an hour does not
    say how old the last keyframes are; they are then compared with the newest of them.
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
