# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps of several sessions and robots become one map, and nothing gets lost or mixed up."""

import dataclasses

import numpy as np
import pytest

from bench.soak import Route
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.errors import MapError
from vpr_ros.core.keyframe import NS_PER_S, Keyframe, run_of
from vpr_ros.core.loop_config import LoopConfig
from vpr_ros.core.loop_detector import LoopDetector
from vpr_ros.core.map_file import LoadedMap, read_map
from vpr_ros.core.map_merge import merged

RED, BLUE = 5 << 23, 9 << 23  # first ids of two robots' runs
ROUTE = Route(60)


def drive(places, first, start_s=0, detector=None, **changes):
    """Drive past some places of the route; returns the detector and what it closed."""
    detector = detector or LoopDetector(
        LoopConfig(score_threshold=0.5), Database(DatabaseConfig())
    )
    matches = []
    for number, place in enumerate(places):
        descriptor, features = ROUTE.view(place)
        stamp_ns = int((start_s + 5 * number) * NS_PER_S)
        keyframe = Keyframe(
            first + number, stamp_ns, "m", 0.0, descriptor, features=features, **changes
        )
        closure = detector.process(keyframe).closure
        matches.append(None if closure is None else closure.match.id)
    return detector, matches


def saved(database, path):
    database.save(path, overwrite=True)
    return LoadedMap.read(path, float("inf"))


@pytest.fixture
def red_and_blue(tmp_path):
    """Maps of two robots: red has seen places 0 to 39, blue 20 to 59."""
    red, _ = drive(range(40), RED)
    blue, _ = drive(range(20, 60), BLUE, start_s=1e6)
    return saved(red.database, tmp_path / "red.vprmap"), saved(
        blue.database, tmp_path / "blue.vprmap"
    )


def test_a_merged_map_closes_loops_with_both_robots(red_and_blue, tmp_path):
    snapshot = merged(red_and_blue, tmp_path / "both.vprmap")
    snapshot.write()
    data = read_map(tmp_path / "both.vprmap")
    assert data.ids.tolist() == [*range(RED, RED + 40), *range(BLUE, BLUE + 40)]
    assert len(set(data.sessions.tolist())) == 2
    assert (data.sessions[:40] == data.sessions[0]).all()
    detector = LoopDetector(LoopConfig(score_threshold=0.5), Database(DatabaseConfig()))
    detector.database.load(tmp_path / "both.vprmap")
    _, matches = drive(range(60), 77 << 23, detector=detector)
    runs = [run_of(m) for m in matches if m is not None]
    assert runs.count(run_of(RED)) > 10 and runs.count(run_of(BLUE)) > 10
    for place, match in enumerate(matches):
        if match is not None:
            there = match - RED if run_of(match) == run_of(RED) else match - BLUE + 20
            assert abs(there - place) <= 3


def test_two_saves_of_one_drive_are_one_session_in_order(tmp_path):
    detector, _ = drive([*range(20), *range(20)], RED)
    early = saved(detector.database, tmp_path / "early.vprmap")
    # Another day on the same map; then the database thins out.
    drive(range(10), BLUE, start_s=1e6, detector=detector)
    detector.database.config = DatabaseConfig(max_keyframes=40)
    detector.database.shrink()
    late = saved(detector.database, tmp_path / "late.vprmap")
    data = merged([early, late], tmp_path / "all").pack()
    assert data.ids.tolist() == [*range(RED, RED + 40), *range(BLUE, BLUE + 10)]
    assert data.sessions.tolist() == [0] * 40 + [1] * 10
    assert len(data.links) >= len(early.data.links) > 5
    # The other way round and repeated: the same keyframes in the same sessions.
    again = merged([late, early, early], tmp_path / "all").pack()
    assert sorted(again.ids.tolist()) == sorted(data.ids.tolist())
    for one in (again, data):
        groups = {run: set(one.sessions[one.ids >> 23 == run >> 23]) for run in (RED, BLUE)}
        assert all(len(group) == 1 for group in groups.values())
        assert (np.diff(one.stamps_ns[one.ids < BLUE]) > 0).all()


def test_what_lay_between_two_keyframes_still_does(red_and_blue, tmp_path):
    """Keyframes count as one place by how many there were between them."""
    red, blue = red_and_blue
    gaps = dataclasses.replace(red.data, sequence=red.data.sequence * 7, links=red.data.links[:0])
    data = merged([dataclasses.replace(red, data=gaps), blue], tmp_path / "x").pack()
    assert (np.diff(data.sequence[:40]) == 7).all() and (np.diff(data.sequence[40:]) == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"model_digest": "b" * 32}, r"model 'm \(weights aaaaaaaa\)' .* drive again"),
        (lambda d: {"descriptors": np.eye(40, 99, dtype=np.float16)}, r"\(768 values\).*\(99 val"),
        (
            lambda d: {
                "feature_sizes": np.full(40, 128),
                "feature_descriptors": np.zeros(len(d.keypoints) * 128, np.uint8),
            },
            "local features of kind orb, .* of kind sift.*features.kind",
        ),
        (lambda d: {"stamps_ns": d.stamps_ns + 1}, f"Keyframe {RED} .*with another stamp_ns:"),
        (lambda d: {"keypoints": d.keypoints + 1}, f"Keyframe {RED} .*with another features:"),
        (lambda d: {"descriptors": np.roll(d.descriptors, 1, 0)}, "with another descriptor: two"),
    ],
)
def test_what_cannot_be_one_map_is_refused_by_name(red_and_blue, tmp_path, change, message):
    data = dataclasses.replace(red_and_blue[0].data, model_digest="a" * 32)
    other = dataclasses.replace(data, **change(data))
    maps = [LoadedMap(tmp_path / n, None, d) for n, d in (("a", data), ("b", other))]
    with pytest.raises(MapError, match=message) as error:
        merged(maps, tmp_path / "all")
    assert str(tmp_path / "a") in str(error.value) and str(tmp_path / "b") in str(error.value)


def test_a_store_may_have_rounded_and_cut_a_keyframe(red_and_blue, tmp_path):
    data = red_and_blue[0].data
    cut = dataclasses.replace(
        data,
        feature_counts=np.full(40, 2),
        keypoints=np.concatenate(
            [data.keypoints[e - c : e - c + 2] for c, e in zip(
                data.feature_counts, data.feature_counts.cumsum(), strict=True)]
        ),
        feature_descriptors=np.concatenate(
            [data.feature_descriptors.reshape(-1, 32)[e - c : e - c + 2] for c, e in zip(
                data.feature_counts, data.feature_counts.cumsum(), strict=True)]
        ).ravel(),
        descriptors=data.descriptors.astype(np.float32) + 1e-5,
    )  # fmt: skip
    pulled = LoadedMap(tmp_path / "pulled", None, cut)
    kept = merged([pulled, red_and_blue[0]], tmp_path / "all").pack()
    assert kept.feature_counts.tolist() == data.feature_counts.tolist()  # the later file's


def test_retention_by_age_and_by_redundancy(red_and_blue, tmp_path):
    blue = red_and_blue[1]
    young = merged(red_and_blue, tmp_path / "young", oldest_ns=int(1e6) * NS_PER_S).pack()
    assert young.ids.tolist() == blue.data.ids.tolist()
    with pytest.raises(MapError, match=r"All 80 keyframes .* newest is of 1970-01-12 .*more days"):
        merged(red_and_blue, tmp_path / "none", oldest_ns=2**60)
    few = merged(red_and_blue, tmp_path / "few", max_keyframes=50)
    # As the database of a robot does it.
    database = Database(DatabaseConfig(max_keyframes=50))
    database.merge(LoadedMap(tmp_path / "x", None, merged(red_and_blue, tmp_path / "x").pack()))
    assert few.pack().ids.tolist() == database.snapshot(tmp_path / "x").pack().ids.tolist()
    assert len(few.places) == 50 and few.places[0].id == RED
    few.write()
    with pytest.raises(MapError, match="exists"):
        merged(red_and_blue, few.path).write()  # nothing is replaced untold
