# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which keyframes are one place: neighbours, laps, and never by chance."""

import pytest

from vpr_ros.core.keyframe import Place
from vpr_ros.core.place_graph import MAX_INHERITED, PlaceGraph


def place(sequence, session=0):
    return Place(sequence, session, sequence, sequence, 0.0, "", None, "", None)


def graph_of(sessions, links=()):
    """Keyframes numbered from 0 in these sessions."""
    graph = PlaceGraph()
    places = [place(sequence, session) for sequence, session in enumerate(sessions)]
    for each in places:
        graph.add(each)
    for a, b in links:
        graph.link(places[a], places[b])
    return graph, places


def same(graph, places, a, b, reach=5):
    forth = graph.same_place(places[a], places[b], reach)
    assert graph.same_place(places[b], places[a], reach) == forth
    return forth


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        *[(a, b, True) for a, b in ((0, 5), (20, 0), (20, 3), (40, 0), (42, 19))],
        *[(a, b, False) for a, b in ((0, 6), (0, 10), (20, 10), (40, 10), (30, 10))],
    ],
)
def test_laps_are_one_place(a, b, expected):
    """Three laps of 20 keyframes, their starts closed: 20 with 0, 40 with 20."""
    graph, places = graph_of([0] * 60, [(20, 0), (40, 20)])
    assert same(graph, places, a, b) == expected


def test_sessions_are_not_neighbours():
    """The end of a map and the start of today's drive follow each other by chance only."""
    graph, places = graph_of([0] * 60 + [1] * 10)
    assert not same(graph, places, 59, 60) and not same(graph, places, 58, 61)
    graph.link(places[59], places[10])
    assert not same(graph, places, 60, 10) and same(graph, places, 59, 12)


def test_a_chain_of_more_than_two_loops_is_not_followed():
    graph, places = graph_of([0] * 50, [(10, 0), (20, 10), (30, 20)])
    assert same(graph, places, 20, 0, reach=0) and not same(graph, places, 30, 0, reach=0)


def test_removed_keyframes_leave_their_links_to_the_one_before():
    graph, places = graph_of([0] * 20, [(15, 5), (16, 5)])
    graph.remove({5})
    assert graph.links() == [(4, 15), (4, 16)]
    graph.link(places[15], places[5])  # gone meanwhile
    assert graph.links() == [(4, 15), (4, 16)]


def test_links_do_not_pass_to_another_session():
    graph, _ = graph_of([0, 0, 1, 1], [(3, 2)])
    graph.remove({2})
    assert graph.links() == []


def test_the_heir_of_many_inherits_no_more_links_than_it_needs():
    """Else memory grew by 270 bytes with every closure of a full database."""
    loops = [(a, 200 + a) for a in range(1, 200)]
    graph, _ = graph_of([0] * 400, loops)
    graph.remove(set(range(1, 200)))
    heirs = [newer for older, newer in graph.links() if older == 0]
    assert len(heirs) == MAX_INHERITED and set(heirs) <= {200 + a for a in range(1, 200)}
