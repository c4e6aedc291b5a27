# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places of the fleet: what is remembered of them is bounded, whatever the store answers."""

import dataclasses

from robots import RUN, view

from vpr_ros.fleet import fleet_places
from vpr_ros.fleet.fleet import Found
from vpr_ros.fleet.fleet_places import OWN, FleetPlaces


def test_unknown_sessions_by_the_thousand_take_no_memory(monkeypatch):
    monkeypatch.setattr(fleet_places, "MAX_PLACES", 20)
    monkeypatch.setattr(fleet_places, "MAX_NUMBERS", 400)
    real = {i.keyframe.id: i for i in (view(n, robot="blue", run=9 << 23) for n in range(1, 9))}
    places = FleetPlaces(lambda ids: [real[id] for id in ids if id in real])
    places.weights = "ab" * 16
    most, known = 0, [Found(item.entry, 0.9) for item in real.values()]
    for number in range(1, 100):
        own = view(number, run=RUN).keyframe
        # Entries without keyframes, each of another session, before those that are there.
        ids = range((number * 100) << 40, (number * 100 + 30) << 40, 1 << 40)
        strange = [Found(dataclasses.replace(known[0].entry, id=id), 1.0) for id in ids]
        places.check(own)
        places.expect(strange + known)
        found = places.search_older(own.descriptor, own.stamp_ns, 20)
        assert {c.place.id for c in found} == set(real)
        place = places.add(own)
        assert place.session >= OWN and place.sequence > max(c.place.sequence for c in found)
        most = max(most, len(places._numbers))
        # A session keeps its number while something of it is here, and no other gets it.
        assert places.neighbours(place, 1)[0].id in (own.id, own.id - 1)
        assert len(set(places._numbers.values())) == len(places._numbers)
    assert 300 < most < 500
