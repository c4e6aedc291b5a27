# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A map goes to the fleet and comes back as it was, also in several attempts."""

import dataclasses

import numpy as np
import pytest

from bench.map_faults import sample_map
from vpr_ros.core.errors import FleetError
from vpr_ros.core.map_file import LoadedMap, read_map
from vpr_ros.core.map_merge import MapPart, merged
from vpr_ros.fleet import shared_maps
from vpr_ros.fleet.fleet import Where
from vpr_ros.fleet.shared_maps import partial_path, pull, push, stored_maps

COUNT = 250  # keyframes, more than two batches


def shown(steps):
    return lambda done, total: steps.append((done, total))


def map_of(first, digest="a" * 32, seed=0):
    data = sample_map(COUNT, size=32, seed=seed)
    ids = np.arange(first, first + COUNT, dtype=np.uint64)
    return dataclasses.replace(
        data, ids=ids, model_digest=digest, sessions=data.sessions * 0, links=np.array([[0, 249]])
    )


def test_a_map_goes_to_the_fleet_and_back_in_spite_of_failures(fleet, tmp_path, monkeypatch):
    red, blue = (
        LoadedMap(tmp_path / name, None, map_of(first << 23, seed=first))
        for name, first in (("red", 5), ("blue", 9))
    )
    put, get, calls = fleet.put, fleet.get, []

    def fails_once(real, at):
        def call(argument):
            calls.append(0)
            if len(calls) == at:
                raise FleetError("gone")
            return real(argument)

        return call

    monkeypatch.setattr(fleet, "put", fails_once(put, 3))
    with pytest.raises(FleetError, match="gone"):
        push(red, fleet, "office", "red", shown([]))
    steps = []
    done = push(red, fleet, "office", "red", shown(steps))
    assert (done.sent, done.known, done.refused) == (50, 200, []) and steps[-1] == (250, 250)
    assert push(blue, fleet, "office", "blue", shown([])).sent == COUNT
    assert push(red, fleet, "office", "whoever", shown([])).known == COUNT
    listed = {key: len(entries) for key, entries in stored_maps(fleet)}
    assert listed == {("office", "a" * 32, "blue"): COUNT, ("office", "a" * 32, "red"): COUNT}

    # Pulled in two attempts.
    path, steps = tmp_path / "pulled.vprmap", []
    calls.clear()
    monkeypatch.setattr(fleet, "get", fails_once(get, 3))
    with pytest.raises(FleetError, match="gone"):
        pull(fleet, Where(map="office"), path, shown(steps))
    assert not path.exists() and len(read_map(partial_path(path)).ids) == 200
    steps.clear()
    snapshot = pull(fleet, Where(map="office"), path, shown(steps))
    assert steps[0] == (300, 500) and steps[-1] == (500, 500)
    snapshot.write()
    pulled = LoadedMap.read(path, float("inf"))
    assert pulled.data.model_digest == "a" * 32 and len(pulled.data.links) == 2
    assert len(set(pulled.data.sessions.tolist())) == 2
    pictures = {p.id: p.thumbnail for p in MapPart.of(pulled).places}
    for part in (MapPart.of(red), MapPart.of(blue)):
        assert {p.id: pictures[p.id] for p in part.places} == {
            p.id: p.thumbnail for p in part.places
        }
    assert any(pictures.values())
    # Each keyframe is what was sent: merging finds no difference, and adds nothing.
    whole = merged([pulled, red, blue], tmp_path / "all").pack()
    assert len(whole.ids) == 2 * COUNT and len(set(whole.sessions.tolist())) == 2
    one = pull(fleet, Where(map="office", robot="blue"), tmp_path / "b.vprmap", shown([]))
    assert [p.id for p in one.places] == blue.data.ids.tolist()


def test_what_does_not_belong_is_said(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_maps, "BATCH", 10)
    data = map_of(5 << 23)
    red = LoadedMap(tmp_path / "red", None, data)
    with pytest.raises(FleetError, match="no such keyframes of map 'office'"):
        pull(fleet, Where(map="office"), tmp_path / "x.vprmap", shown([]))
    push(red, fleet, "office", "red", shown([]))
    with pytest.raises(FleetError, match=r"in map 'office' .* by robot 'red'. Push to that map"):
        push(red, fleet, "attic", "red", shown([]))
    other = dataclasses.replace(data, stamps_ns=data.stamps_ns + 1)
    done = push(LoadedMap(tmp_path / "b", None, other), fleet, "office", "blue", shown([]))
    assert done.sent == 0 and done.refused == data.ids.tolist()
    retrained = map_of(7 << 23, digest="b" * 32)
    push(LoadedMap(tmp_path / "c", None, retrained), fleet, "office", "blue", shown([]))
    with pytest.raises(FleetError, match=r"2 models: a{32}, b{32}. Name one with --model"):
        pull(fleet, Where(map="office"), tmp_path / "x.vprmap", shown([]))
    one = pull(fleet, Where(map="office", model="bb"), tmp_path / "x.vprmap", shown([]))
    assert {p.id >> 23 for p in one.places} == {7}
