# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The database finds what plain NumPy finds, stays bounded, and forgets nothing on disk."""

import hashlib
import math
import threading

import numpy as np
import pytest

from bench.map_faults import sample_map
from vpr_ros.core.database import Database, DatabaseConfig
from vpr_ros.core.errors import DescriptorError, KeyframeError, MapError
from vpr_ros.core.keyframe import Thumbnail
from vpr_ros.core.map_file import LoadedMap

RNG = np.random.default_rng(0)
D = 32


def units(count, size=D):
    rows = RNG.normal(size=(count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def config(**values):
    """Nothing recent but the last keyframe, unless asked."""
    return DatabaseConfig(**{"exclude_recent_s": 0.0, "exclude_recent_keyframes": 1, **values})


def ids(candidates):
    return [c.place.id for c in candidates]


@pytest.fixture
def fill(make_keyframe):
    """fill(rows, ...): a database of one keyframe a second, ids from `first`."""

    def fill(rows, first=0, start_s=0, database=None, **values):
        database = Database(config(**values)) if database is None else database
        for i, row in enumerate(rows):
            database.add(make_keyframe(first + i, start_s + i, row))
        return database

    return fill


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
def test_search_equals_brute_force(fill, precision, tolerance):
    rows = units(300)
    database = fill(rows, precision=precision)
    for query in units(20):
        scores = rows @ query
        found = database.search(query, 7)
        assert [c.score for c in found] == pytest.approx(np.sort(scores)[:-8:-1], abs=tolerance)
        assert all(abs(scores[c.place.id] - c.score) <= tolerance for c in found)
        if precision == "float32":
            assert ids(found) == np.argsort(-scores)[:7].tolist()


def test_more_than_there_is_and_nothing_at_all(fill):
    assert Database(config()).search(units(1)[0], 5) == []
    assert Database(config()).search_older(units(1)[0], 0, 5) == []
    assert len(fill(units(3)).search(units(1)[0], 50)) == 3


def test_bookkeeping(fill, make_keyframe, make_features):
    rows = units(3)
    database = fill(rows, first=7)
    assert len(database) == 3 and database.descriptor_size == D and database.model == "m"
    assert database.get(8).stamp_ns == 10**9 and database.get(1) is None
    assert np.allclose(database.descriptors([database.get(8)])[0], rows[1], atol=1e-3)
    bare = database.bytes_per_keyframe
    assert 2 * D < bare < 2 * D + 1000
    features = make_features(np.ones((200, 2)))
    jpeg = sample_map(1).thumbnails.tobytes()
    thumbnail = Thumbnail(jpeg, 640)
    database.add(make_keyframe(10, 9, rows[0], features=features, thumbnail=thumbnail))
    carried = features.nbytes + len(jpeg)
    assert database.bytes_per_keyframe == pytest.approx(bare + carried / 4)


# What is too fresh


def test_standing_still_does_not_crowd_out_the_old_match(fill):
    """Thirty identical fresh frames, one old view, one candidate asked for."""
    here, old = units(2)
    old = 0.8 * here + 0.6 * (old - (old @ here) * here) / np.linalg.norm(
        old - (old @ here) * here
    )
    database = fill([old, *units(20)])
    fill([here] * 30, first=100, start_s=50, database=database)
    database.config = config(exclude_recent_s=40.0)
    found = database.search_older(here, 80 * 10**9, 1)
    assert ids(found) == [0] and found[0].score == pytest.approx(0.8, abs=2e-3)


@pytest.mark.parametrize(
    ("seconds", "keyframes", "youngest"),
    [(0.0, 1, 18), (0.0, 5, 14), (5.0, 1, 14), (4.5, 1, 15), (5.0, 10, 9), (100.0, 1, None)],
)
def test_exclusion_by_time_and_by_count(fill, seconds, keyframes, youngest):
    database = fill(units(20), exclude_recent_s=seconds, exclude_recent_keyframes=keyframes)
    found = ids(database.search_older(units(1)[0], 20 * 10**9, 100))
    assert sorted(found) == list(range(youngest + 1)) if youngest is not None else found == []


def test_search_elsewhere_leaves_the_neighbours_out(fill):
    database = fill(units(20), exclude_recent_keyframes=3)
    found = ids(database.search_elsewhere(database.get(10), 100))
    assert sorted(found) == [*range(7), *range(14, 20)]


def test_the_background_is_that_of_older_places(fill):
    """Three of four stay below it; recent keyframes, which look like the new one, do not count."""
    rows = np.random.default_rng(1).normal(size=(1000, D)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    database = fill(rows, precision="float32")
    query = rows[999]
    found = database.background(query, 999 * 10**9)
    assert found == pytest.approx(np.quantile((rows @ query)[:-1], 0.75), abs=0.05)
    assert fill(rows[:2]).background(rows[1], 10**9) == pytest.approx(rows[0] @ rows[1], abs=1e-3)
    assert fill(rows[:1]).background(rows[0], 0) == Database(config()).background(query, 0) == 1.0


def test_a_clock_that_jumps_back_makes_all_before_it_older(fill, make_keyframe):
    rows = units(20)
    database = fill(rows, start_s=1000, exclude_recent_s=60.0)
    assert database.search_older(rows[3], 1019 * 10**9, 1) == []
    assert ids(database.search_older(rows[3], 5 * 10**9, 1)) == [3]
    assert database.session == 1
    place = database.add(make_keyframe(100, 5, rows[3]))
    assert place.session == 1
    assert 100 not in ids(database.search_older(rows[3], 6 * 10**9, 50))
    assert database.add(make_keyframe(101, 6, rows[4])).session == 1  # one jump, one session


# What is refused


@pytest.mark.parametrize(
    ("id", "descriptor", "model", "message"),
    [
        (9, units(1)[0], "other", "from model 'other', but the database holds keyframes of 'm'"),
        (9, units(1, 31)[0], "m", r"31 values, .* have 32 \(model 'm'\)"),
        (9, np.full(D, math.nan), "m", "length nan; it must be finite"),
        (9, np.append(np.zeros(D - 1), math.inf), "m", "length inf"),
        (9, 0.9 * units(1)[0], "m", "length 0.9"),
        (9, np.zeros(D), "m", "length 0;"),
        (9, np.empty(0), "m", r"shape \(0,\)"),
        (9, units(1), "m", r"shape \(1, 32\)"),
    ],
)
def test_bad_keyframes_are_refused_without_effect(
    fill, make_keyframe, id, descriptor, model, message
):
    rows = units(3)
    database = fill(rows)
    with pytest.raises(DescriptorError, match=message):
        database.add(make_keyframe(id, 10, descriptor, model=model))
    if id == 9 and model == "m":
        with pytest.raises(DescriptorError, match=message):
            database.search(np.asarray(descriptor, np.float32), 1)
    assert len(database) == 3 and ids(database.search(rows[1], 1)) == [1]


def test_a_keyframe_is_taken_once_and_only_if_it_can_be_one(fill, make_keyframe):
    rows = units(4)
    database = fill(rows[:3])
    with pytest.raises(KeyframeError, match="Keyframe 1 is already in the database"):
        database.add(make_keyframe(1, 10, rows[3]))
    with pytest.raises(KeyframeError, match="Keyframe 9 was refused: the stamp is out of range"):
        database.add(make_keyframe(9, -1, rows[3]))
    assert len(database) == 3


# What is forgotten


@pytest.mark.parametrize("maximum", [4, 50, 250])
def test_the_bound_holds_and_evictions_are_counted(fill, maximum):
    rows = units(600)
    database = fill(rows, max_keyframes=maximum)
    assert len(database) <= maximum and database.evicted == 600 - len(database)
    assert len(database) >= maximum - max(1, maximum // 100)
    kept = [i for i in range(600) if database.get(i)]
    assert len(kept) == len(database)
    assert kept[-(maximum // 2) :] == list(range(600 - maximum // 2, 600))
    for i in kept:  # and the index still agrees with the books
        assert ids(database.search(rows[i], 1)) == [i]
    assert sorted(ids(database.search(rows[0], 1000))) == kept


def test_the_redundant_go_first_and_the_newest_half_never(fill):
    distinct, still = units(100), units(1)[0]
    # two distinct views, then one of standing still, and so on
    mixed = [still if i % 3 == 2 else distinct[i] for i in range(60)]
    dull = [distinct[60]] * 60  # newest, all alike
    database = fill([*mixed[:6], *[still] * 20, *mixed[6:40], *dull], max_keyframes=120)
    fill(units(18), first=500, start_s=500, database=database)
    gone = {i for i in range(120) if database.get(i) is None}
    assert len(gone) == 18 and gone <= set(range(6, 26))


def test_a_bound_lowered_while_running_holds_at_once_and_evicts_in_few_rounds(fill, monkeypatch):
    rows = units(600)
    database = fill(rows)
    rounds = []
    evict = database._evict
    monkeypatch.setattr(database, "_evict", lambda wanted: (rounds.append(wanted), evict(wanted)))
    database.config = config(max_keyframes=50)
    database.shrink()
    assert len(database) == 50 and database.evicted == 550
    assert len(rounds) < 20  # one by one there would be 550
    kept = [i for i in range(600) if database.get(i)]
    assert kept[-25:] == list(range(575, 600))
    assert sorted(ids(database.search(rows[0], 1000))) == kept


@pytest.mark.parametrize("count", [3000, 5000])
def test_the_bound_of_memory_holds_whatever_keyframes_carry(
    fill, make_keyframe, make_features, count
):
    rows = units(150)
    features = make_features(np.ones((count, 2)))
    database = fill(rows[:50], max_mb=10)
    for i in range(50, 150):
        database.add(make_keyframe(i, i, rows[i], features=features))
        places = [p for p in map(database.get, range(i + 1)) if p]
        used = sum(p.nbytes + 2 * D for p in places)
        assert used <= 10e6 and database.bytes_per_keyframe == pytest.approx(used / len(places))
    assert database.evicted == 150 - len(database) > 0
    assert database.get(149) and len(database) * features.nbytes > 5e6


# What is on disk


def test_a_saved_map_answers_as_before(fill, tmp_path, make_keyframe, make_features):
    rows = units(60)
    database = fill(rows, max_keyframes=50)
    database.add(make_keyframe(99, 99, units(1)[0], features=make_features(np.ones((5, 2)))))
    size = database.save(tmp_path / "a.vprmap")
    assert size == (tmp_path / "a.vprmap").stat().st_size
    for precision in ("float16", "float32"):
        again = Database(config(precision=precision))
        assert again.load(tmp_path / "a.vprmap") == len(database) == len(again)
        assert again.model == "m"
        for query in rows[::7]:
            before, after = database.search(query, 10), again.search(query, 10)
            assert ids(after) == ids(before)
            assert [c.score for c in after] == pytest.approx([c.score for c in before], abs=1e-6)
        assert np.array_equal(again.get(99).features.keypoints, np.ones((5, 2)))


def test_a_map_does_not_care_about_the_clock(fill, tmp_path, make_keyframe):
    """All of a map is older than what follows, even if today's clock is behind."""
    rows = units(20)
    fill(rows, start_s=1_000_000).save(tmp_path / "a.vprmap")
    database = Database(config(exclude_recent_s=60.0, exclude_recent_keyframes=10))
    database.load(tmp_path / "a.vprmap")
    assert ids(database.search_older(rows[19], 5 * 10**9, 1)) == [19]
    database.add(make_keyframe(100, 5, rows[19]))
    assert ids(database.search_older(rows[19], 6 * 10**9, 1)) == [19]


def test_loading_keeps_what_is_here_as_newer(fill, tmp_path):
    rows, more = units(20), units(10)
    fill(rows).save(tmp_path / "a.vprmap")
    database = fill(more, first=100, start_s=500, exclude_recent_s=60.0)
    assert database.load(tmp_path / "a.vprmap") == 20 and len(database) == 30
    assert ids(database.search(more[4], 1)) == [104] and ids(database.search(rows[4], 1)) == [4]
    found = ids(database.search_older(more[4], 510 * 10**9, 50))
    assert sorted(found) == list(range(20))  # its own are still too fresh
    database.load(tmp_path / "a.vprmap", replace=True)
    assert len(database) == 20 and database.get(104) is None


def test_loading_twice_changes_nothing(fill, tmp_path, make_keyframe):
    rows = units(20)
    database = fill(rows, exclude_recent_s=60.0)
    database.graph.link(database.get(15), database.get(0))
    database.save(tmp_path / "a.vprmap")
    for _ in range(2):
        database.load(tmp_path / "a.vprmap")
        assert len(database) == 20
        assert database.search_older(rows[3], 20 * 10**9, 5) == []  # all is still fresh
    later = [database.add(make_keyframe(100 + i, 20 + i, row)) for i, row in enumerate(units(20))]
    assert database.graph.same_place(database.get(15), database.get(0), 1)
    assert not any(database.graph.same_place(p, database.get(0), 1) for p in later)


def test_loading_too_much_evicts(fill, tmp_path):
    fill(units(100)).save(tmp_path / "a.vprmap")
    database = fill(units(10), first=500, start_s=500, max_keyframes=50)
    assert database.load(tmp_path / "a.vprmap") == 100
    assert len(database) == 50 and database.evicted == 60
    assert all(database.get(500 + i) for i in range(10))


@pytest.mark.parametrize(
    "rows", [units(5), units(5, 16)], ids=["another model's", "another size under one name"]
)
def test_a_foreign_map_is_refused(fill, tmp_path, make_keyframe, rows):
    foreign = Database(config())
    model = "other" if rows.shape[1] == D else "m"
    foreign.add(make_keyframe(0, 0, rows[0], model=model))
    foreign.save(tmp_path / "a.vprmap")
    database = fill(units(5))
    with pytest.raises(MapError, match=rf"from model '{model}' \({rows.shape[1]}.*holds 'm' \(32"):
        database.load(tmp_path / "a.vprmap")
    assert len(database) == 5 and database.model == "m"
    database.load(tmp_path / "a.vprmap", replace=True)
    assert len(database) == 1 and database.model == model


def test_a_missing_or_damaged_map_changes_nothing(fill, tmp_path):
    rows = units(5)
    database = fill(rows)
    (tmp_path / "bad").write_bytes(b"bad")
    for name, message in (("none", "does not exist"), ("bad", "damaged")):
        for replace in (False, True):
            with pytest.raises(MapError, match=message):
                database.load(tmp_path / name, replace)
    assert len(database) == 5 and ids(database.search(rows[2], 1)) == [2]


def test_a_map_that_does_not_fit_is_not_overwritten_by_what_is_left(fill, tmp_path):
    path = tmp_path / "a.vprmap"
    fill(units(100)).save(path)
    before = path.read_bytes()
    database = Database(config(max_keyframes=50))
    assert database.load(path) == 100 and len(database) == 50
    with pytest.raises(MapError, match="exists and was neither"):
        database.save(path)
    assert path.read_bytes() == before and not database.is_file(path)


def test_what_is_not_saved_yet_is_known(fill, tmp_path, make_keyframe):
    a, b = tmp_path / "a.vprmap", tmp_path / "b.vprmap"
    database = Database(config())
    assert database.is_saved(a)  # there is nothing to save
    fill(units(5), database=database)
    assert not database.is_saved(a)
    database.save(a)
    assert database.is_saved(a) and not database.is_saved(b)
    snapshot = database.snapshot(a)
    database.add(make_keyframe(9, 9, units(1)[0]))  # while another thread writes
    snapshot.write()
    assert not database.is_saved(a)
    again = Database(config())
    again.load(a)
    assert again.is_saved(a) and len(again) == 5
    database.save(b)
    database.load(a)  # adds nothing, but who knows
    assert database.is_file(a) and database.is_file(b) and not database.is_saved(a)
    database.save(a)
    database.load(b, replace=True)
    assert database.is_file(b) and database.is_saved(b) and not database.is_file(a)


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_save_after_the_map_was_read_refuses_no_later_one(
    fill, tmp_path, monkeypatch, meanwhile
):
    """Its keyframes are added after that save, or meanwhile."""
    path = tmp_path / "a.vprmap"
    database = fill(units(5))
    database.save(path)
    loaded = LoadedMap.read(path, math.inf)
    fill(units(1), first=50, start_s=50, database=database)
    save = threading.Thread(target=database.snapshot(path).write)
    with monkeypatch.context() as patch:
        if meanwhile:
            patch.setattr(Database, "shrink", lambda *_: (save.start(), save.join()))
        else:
            save.start()
            save.join()
        database.merge(loaded)
    fill(units(1), first=60, start_s=60, database=database)
    database.save(path)
    assert len(LoadedMap.read(path, math.inf).data.ids) == len(database) == 7


def test_a_save_begun_before_a_load_does_not_replace_what_was_loaded(fill, tmp_path):
    path = tmp_path / "a.vprmap"
    fill(units(5)).save(path)
    before = path.read_bytes()
    database = fill(units(3), first=50)
    snapshot = database.snapshot(path)
    database.load(path)
    with pytest.raises(MapError, match="exists and was neither"):
        snapshot.write()
    assert path.read_bytes() == before
    database.save(path)
    assert len(LoadedMap.read(path, math.inf).data.ids) == 8


def test_a_snapshot_is_of_its_moment(fill, tmp_path):
    rows = units(80)
    database = fill(rows[:40], max_keyframes=40)
    snapshot = database.snapshot(tmp_path / "a.vprmap")
    fill(rows[40:], first=40, start_s=40, database=database)
    snapshot.write()
    again = Database(config())
    assert again.load(tmp_path / "a.vprmap") == 40
    for i in range(40):
        assert ids(again.search(rows[i], 1)) == [i]


def test_only_the_map_in_use_is_overwritten(fill, tmp_path):
    path = tmp_path / "a.vprmap"
    first, second = fill(units(3)), fill(units(5))
    first.save(path)
    before = path.read_bytes()
    with pytest.raises(MapError, match=r"exists and was neither saved here nor .*overwrite"):
        second.save(path)
    assert path.read_bytes() == before
    first.save(path)  # its own
    second.save(path, overwrite=True)
    second.save(path)
    third = Database(config())
    third.load(path)
    third.save(path)


@pytest.mark.parametrize("name", ["~nobody-here/a", "a" * 300, "file/a"])
def test_a_map_that_cannot_be_written_is_named(fill, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "~nobody-here").touch()
    database = fill(units(3))
    with pytest.raises(MapError, match="cannot be written"):
        database.save(type(tmp_path)(name))
    assert len(database) == 3


def test_nothing_is_saved_of_nothing(tmp_path):
    with pytest.raises(MapError, match="no keyframes yet"):
        Database(config()).save(tmp_path / "a.vprmap")
    assert not list(tmp_path.iterdir())


# What is one place: see test_place_graph.py


def test_closed_loops_survive_a_reload_and_a_merge(fill, tmp_path):
    """Two laps of 20 keyframes: 20 closed with 0."""
    laps = fill(units(40))
    laps.graph.link(laps.get(20), laps.get(0))
    laps.save(tmp_path / "a.vprmap")
    for database in (Database(config()), fill(units(30), first=100, start_s=100)):
        database.load(tmp_path / "a.vprmap")
        assert database.graph.same_place(database.get(22), database.get(1), 5)
        assert not database.graph.same_place(database.get(30), database.get(0), 5)


def test_a_map_and_the_drive_after_it_are_two_sessions(fill, tmp_path):
    fill(units(40)).save(tmp_path / "a.vprmap")
    database = Database(config())
    database.load(tmp_path / "a.vprmap")
    fill(units(10), first=100, start_s=100, database=database)
    assert not database.graph.same_place(database.get(39), database.get(100), 5)


def test_evicted_keyframes_leave_their_links_to_the_one_before(fill, make_keyframe):
    rows = units(20)
    rows[5] = rows[4]  # 5 is redundant and goes first
    database = fill(rows, max_keyframes=20)
    database.graph.link(database.get(15), database.get(5))
    database.add(make_keyframe(100, 100, units(1)[0]))
    assert database.get(5) is None
    assert database.graph.same_place(database.get(15), database.get(4), 0)


def test_links_are_bounded_too(fill, make_keyframe):
    database = fill(units(10), max_keyframes=50)
    for i in range(10, 400):
        place = database.add(make_keyframe(i, i, units(1)[0]))
        (match,) = database.search_older(units(1)[0], i * 10**9, 1)
        database.graph.link(place, match.place)
    links = database.graph.links()
    assert 0 < len(links) < 50 * 50
    known = {database.get(id).sequence for id in range(400) if database.get(id)}
    assert {sequence for link in links for sequence in link} <= known


# Time


def drive(make_keyframe, stamps_s, **values):
    """A database of one keyframe per stamp, ids from 0, and the candidates each would have had."""
    database = Database(config(**values))
    rows, found = units(len(stamps_s)), []
    for i, stamp_s in enumerate(stamps_s):
        found.append(set(ids(database.search_older(rows[i], round(stamp_s * 1e9), 1000))))
        database.add(make_keyframe(i, stamp_s, rows[i]))
    return database, found


def steady(count, period_s=0.1, start_s=100.0):
    return [start_s + period_s * i for i in range(count)]


def youngest_match_s(stamps_s, found):
    """How old the youngest candidate of any keyframe was, by its place in the order."""
    period_s = stamps_s[1] - stamps_s[0]
    return min((i - max(f)) * period_s for i, f in enumerate(found) if f)


WRONG = {
    "back by a nanosecond": -1e-9,
    "back by 50 ms": -0.05,
    "back by 0.9 s": -0.9,
    "the same again": 0.0,
    "ahead by two hours": 7200.0,
    "in 2036": 2.1e9,
    "in 1970": -99.0,
}


@pytest.mark.parametrize("step_s", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("burst", [1, 2])
def test_wrong_stamps_open_no_session_and_void_no_exclusion(make_keyframe, step_s, burst):
    stamps = steady(120)
    wrong = list(stamps)
    for at in (40, 41, 80, 81):
        if burst == 2 or at % 2 == 0:
            wrong[at] = wrong[at - 1 if at % 2 == 0 else at - 2] + step_s
    database, found = drive(make_keyframe, wrong, exclude_recent_s=3.0)
    assert database.session == 0
    assert {database.get(i).session for i in range(120)} == {0}
    right = [f if wrong[i] == stamps[i] else set() for i, f in enumerate(found)]
    assert youngest_match_s(stamps, right) > 2.75
    assert len(found[119]) in (88, 89)  # and nothing more is lost


@pytest.mark.parametrize("step_s", [-0.05, 7200.0, 2.1e9, -99.0])
def test_a_keyframe_with_a_wrong_stamp_does_not_close_with_the_last_ones(make_keyframe, step_s):
    stamps = steady(60)
    stamps[40] += step_s
    _, found = drive(make_keyframe, stamps, exclude_recent_s=3.0, exclude_recent_keyframes=10)
    assert not found[40] or max(found[40]) <= 29


@pytest.mark.parametrize("offset_s", [0.03, 0.5, 5.0, 3600.0])
def test_two_publishers_with_clocks_of_their_own(make_keyframe, offset_s):
    stamps = [t + (offset_s if i % 2 else 0.0) for i, t in enumerate(steady(120))]
    database, found = drive(make_keyframe, stamps, exclude_recent_s=3.0)
    assert database.session == 0
    assert youngest_match_s(steady(120), [set()] * 40 + found[40:]) > 2.4


def test_stamps_in_any_order_within_a_second(make_keyframe):
    stamps = np.array(steady(120)) + np.random.default_rng(3).uniform(0, 0.5, 120)
    database, found = drive(make_keyframe, stamps.tolist(), exclude_recent_s=3.0)
    assert database.session == 0
    assert youngest_match_s(steady(120), found) > 2.4


@pytest.mark.parametrize("back_s", [4.0, 30.0, 1e6])
def test_a_recording_that_starts_again_is_one_new_session(make_keyframe, back_s):
    stamps = [*steady(60, start_s=2e6), *steady(60, start_s=2e6 + 5.9 - back_s)]
    database, found = drive(
        make_keyframe, stamps, exclude_recent_s=3.0, exclude_recent_keyframes=10
    )
    assert database.session == 1
    assert [database.get(i).session for i in (59, 60, 119)] == [0, 1, 1]
    assert max(found[60]) == 49  # all but the last by count
    assert max(found[119]) >= 59


def test_a_clock_set_right_while_driving_goes_on(make_keyframe):
    """A robot without a battery for its clock: 1970, then the time server answers."""
    stamps = [*steady(60), *steady(60, start_s=1.8e9)]
    database, found = drive(make_keyframe, stamps, exclude_recent_s=3.0)
    assert database.session == 0
    assert found[61] and max(found[60]) <= 29 and max(found[100]) <= 70


# Robots


ROBOT = 1 << 23  # ids of one run of an encoder


def two_robots(make_keyframe, count=60, lag_s=0.0):
    """Both send in turn; the candidates of each, as (robot, number)."""
    database, rows = Database(config(exclude_recent_s=3.0)), units(2 * count)
    found = ([], [])
    for i in range(2 * count):
        robot, number = i % 2, i // 2
        stamp_s = 2e6 + 0.1 * number - lag_s * robot
        run, id = 7 + robot, (7 + robot) * ROBOT + number
        candidates = database.search_older(rows[i], round(stamp_s * 1e9), 1000, run=run)
        found[robot].append({((c.place.id // ROBOT) - 7, c.place.id % ROBOT) for c in candidates})
        database.add(make_keyframe(id, stamp_s, rows[i]))
    return database, found


@pytest.mark.parametrize("lag_s", [0.0, 0.3, 5.0, -5.0, 1e6])
def test_what_another_robot_has_just_seen_may_be_a_loop(make_keyframe, lag_s):
    database, found = two_robots(make_keyframe, lag_s=lag_s)
    assert {database.get(7 * ROBOT + i).session for i in range(60)} == {0}
    assert {database.get(8 * ROBOT + i).session for i in range(60)} == {1}
    for robot in (0, 1):
        own = [max((n for r, n in f if r == robot), default=-1) for f in found[robot]]
        assert all(i - n > 29 for i, n in enumerate(own) if n >= 0) and own[59] == 28
        other = [max((n for r, n in f if r != robot), default=-1) for f in found[robot]]
        assert other[59] == 58 + robot  # the newest


def test_a_restarted_encoder_does_not_close_on_what_it_just_saw(make_keyframe):
    database, rows = Database(config(exclude_recent_keyframes=5)), units(40)
    for i in range(20):
        database.add(make_keyframe(7 * ROBOT + i, i, rows[i]))
    for i in range(20, 30):
        found = ids(database.search_older(rows[i], i * 10**9, 100, run=9))
        assert max(id for id in found if id < 9 * ROBOT) == 7 * ROBOT + min(i - 6, 19)
        assert max(found) == (7 if i < 26 else 9) * ROBOT + min(i - 6, 19 if i < 26 else 99)
        database.add(make_keyframe(9 * ROBOT + i, i, rows[i]))


def test_two_robots_go_on_after_a_map_is_loaded(make_keyframe, tmp_path):
    database, _ = two_robots(make_keyframe, lag_s=5.0)
    other, rows = Database(config()), units(300)
    for i in range(10):
        other.add(make_keyframe(3 * ROBOT + i, i, rows[200 + i]))
    other.save(tmp_path / "map")
    database.load(tmp_path / "map")
    assert database.get(3 * ROBOT).session == 0
    for robot, stamp_s in ((7, 2e6 + 6), (8, 2e6 + 1)):
        before = database.get(robot * ROBOT + 59).session
        found = database.search_older(rows[220], round(stamp_s * 1e9), 1000, run=robot)
        own = [c.place.id % ROBOT for c in found if c.place.id // ROBOT == robot]
        assert max(own) == 29
        place = database.add(make_keyframe(robot * ROBOT + 60, stamp_s, rows[220 + robot]))
        assert place.session == before


def test_random_ids_are_no_memory_leak(make_keyframe):
    database, rows = Database(config()), units(300)
    for i in range(300):
        database.add(make_keyframe(i * ROBOT, i, rows[i]))
        assert len(database.search_older(rows[i], i * 10**9, 1000, run=i)) == i
    assert len(database._runs._runs) == 64


# Which model, and which keyframe


def other_weights(make_keyframe, id, digest, model="m"):
    return make_keyframe(id, 1000 + id, units(1)[0], model=model, model_digest=digest)


def test_weights_and_not_names_tell_models_apart(make_keyframe):
    database = Database(config())
    database.add(other_weights(make_keyframe, 0, "aaaaaaaaaaaa"))
    database.add(other_weights(make_keyframe, 1, "aaaaaaaaaaaa", model="renamed"))
    with pytest.raises(DescriptorError, match=r"'m \(weights bbbbbbbb\)'.*'m \(weights aaaaaaaa"):
        database.add(other_weights(make_keyframe, 2, "bbbbbbbbbbbb"))
    database.add(other_weights(make_keyframe, 3, ""))  # an old encoder: by its name
    with pytest.raises(DescriptorError):
        database.add(other_weights(make_keyframe, 4, "", model="other"))
    assert len(database) == 3


def test_a_map_knows_its_weights(make_keyframe, tmp_path):
    path = tmp_path / "a.vprmap"
    database = Database(config())
    database.add(other_weights(make_keyframe, 0, "aaaaaaaaaaaa"))
    database.save(path)
    same, other = Database(config()), Database(config())
    same.load(path)
    assert (same.model, same.model_digest, same.taken_by_name) == ("m", "aaaaaaaaaaaa", False)
    other.add(other_weights(make_keyframe, 1, "bbbbbbbbbbbb"))
    with pytest.raises(MapError, match=r"weights aaaaaaaa.*weights bbbbbbbb"):
        other.load(path)
    with pytest.raises(DescriptorError):
        same.add(other_weights(make_keyframe, 1, "bbbbbbbbbbbb"))


def test_a_map_of_unknown_weights_is_taken_by_its_name(make_keyframe, fill, tmp_path):
    path = tmp_path / "old.vprmap"
    fill(units(3)).save(path)
    database = Database(config())
    database.load(path)
    assert database.taken_by_name and database.model_digest == ""
    database.add(other_weights(make_keyframe, 50, "aaaaaaaaaaaa"))
    with pytest.raises(DescriptorError):
        database.add(other_weights(make_keyframe, 51, "bbbbbbbbbbbb"))
    database.save(path)
    again = Database(config())
    again.load(path)
    assert not again.taken_by_name


def test_equal_ids_of_two_robots_lose_no_keyframe(fill, tmp_path):
    rows = units(32)
    first, second = fill(rows[:16]), fill(rows[16:], start_s=500)
    first.graph.link(first.get(15), first.get(0))
    first.save(tmp_path / "a.vprmap")
    for _ in range(2):
        assert second.load(tmp_path / "a.vprmap") == 16
    assert len(second) == 32
    for row in rows:
        assert second.search(row, 1)[0].score == pytest.approx(1.0, abs=2e-3)
    assert second.get(3).stamp_ns == 503 * 10**9  # its own keep their ids
    (link,) = second.graph.links()
    assert second.session >= 1 and link[1] - link[0] == 15


def test_a_map_cannot_foresee_the_ids_that_its_keyframes_get(fill, tmp_path, make_keyframe):
    """It holds the id that another of its keyframes will be given, since its own is taken."""
    rows = units(40)
    first = fill(rows[:1])  # id 0, stamp 0
    given = int.from_bytes(hashlib.sha256(b"0 0").digest()[:8], "big") >> 1
    first.add(make_keyframe(given, 1, rows[1]))
    first.save(tmp_path / "a.vprmap")
    database = fill(rows[2:12], start_s=500)
    database.load(tmp_path / "a.vprmap")
    assert len(database) == 12
    assert len({database.search(row, 1)[0].place.id for row in rows[:12]}) == 12
    database.config = config(max_keyframes=4)
    database.shrink()
    assert len(database) == 4
