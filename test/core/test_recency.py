# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Time starts anew only when all witnesses agree; see also the drives in test_database.py."""

import pytest

from vpr_ros.core.recency import first_recent, session_has_ended

S = 1_000_000_000


@pytest.mark.parametrize(
    ("stamp_s", "last_s", "ended"),
    [
        (5, [], False),
        (5, [7], True),
        (5, [6], False),
        (5, [5.9, 6.0], False),
        (5, [7, 8, 9], True),
        (5, [7, 8, 5.5], False),  # one of them was from the future
        (5, [5.2, 1e9, 5.1], False),
    ],
)
def test_a_session_ends_behind_all_the_last_stamps(stamp_s, last_s, ended):
    last = [round(s * S) for s in last_s]
    assert session_has_ended(round(stamp_s * S), last) is ended


def recent(stamps_s, stamp_s, sessions=None, span_s=10, count=1):
    """first_recent for keyframes with these stamps, in order of arrival."""
    sessions = sessions or [0] * len(stamps_s)
    newest_first = [(k, sessions[k], round(stamps_s[k] * S)) for k in range(len(stamps_s))][::-1]
    return first_recent(round(stamp_s * S), sessions[-1], newest_first, span_s * S, count)


@pytest.mark.parametrize(
    ("stamps_s", "stamp_s", "expected"),
    [
        (range(100), 100, 90),
        ([*range(95), 96, 95, 98, 97, 99], 100, 90),  # out of order
        ([*range(95), 1e9, *range(96, 100)], 100, 90),  # one from the future among them
        ([*range(95), 0, *range(96, 100)], 100, 90),  # and one from the past
        (range(100), 1e9, 89),  # the stamp that asks is from the future
        (range(100), 130, 99),  # a stop of half a minute
        ([0, 1, 2], 3, 0),
    ],
)
def test_what_is_recent(stamps_s, stamp_s, expected):
    assert recent(list(stamps_s), stamp_s) == expected


def test_only_the_count_reaches_into_another_session():
    stamps, sessions = [*range(100, 120), 5, 6, 7], [0] * 20 + [1] * 3
    assert recent(stamps, 8, sessions) == 20
    assert recent(stamps, 8, sessions, count=10) == 13
    assert first_recent(0, 0, [], 10 * S, 10) is None
