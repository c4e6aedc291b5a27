# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pose graphs on made-up drives: laps round a rectangle, with odometry that drifts."""

import math
import sys

import gtsam
import numpy as np
import pytest

from vpr_ros.core.pose import (
    Pose,
    apart_rows,
    between_rows,
    compose_rows,
    rows_of,
)
from vpr_ros.mapping.graph_correction import correct, to_pose3
from vpr_ros.mapping.graph_file import (
    graph_path,
    load_graph,
    read_graph,
    save_graph,
    tum_text,
    write_g2o,
)
from vpr_ros.mapping.pose_graph import (
    GraphConfig,
    GraphError,
    PoseGraph,
)

SIDES = (40.0, 25.0, 40.0, 25.0)
LAP_M, STEP_M = 130.0, 0.65
LAP = round(LAP_M / STEP_M)


def truth(index):
    """Position and heading after so many steps round the rectangle."""
    way, (x, y), heading = index * STEP_M % LAP_M, (0.0, 0.0), 0.0
    for side in SIDES:
        step = min(way, side)
        x, y = x + step * math.cos(heading), y + step * math.sin(heading)
        if way <= side:
            break
        way, heading = way - side, heading + math.pi / 2
    return Pose.planar(x, y, heading)


def odometry(count, drift_deg, seed=0):
    """Dead reckoning along it: 2 % too long, the heading off by more and more."""
    rng, pose = np.random.default_rng(seed), Pose.planar(0.0, 0.0, 0.0)
    for index in range(count):
        if index:
            step = truth(index - 1).inverse().compose(truth(index))
            off = math.radians(drift_deg * STEP_M + rng.normal(0, 0.2))
            moved = Pose.planar(0.02 * step.x, 0.02 * step.y, off)
            pose = pose.compose(step).compose(moved)
        yield pose


def drive(count=3 * LAP, drift_deg=0.5, config=None):
    """A graph of a drive without closures."""
    graph = PoseGraph(config)
    for index, pose in enumerate(odometry(count, drift_deg)):
        graph.add_keyframe(index + 1, index * 10**9, pose, "odom")
    return graph


def close(graph, query, match, off_deg=1.0, rotation=True):
    """Add a closure whose rotation is that of the truth, or a little off."""
    turn = math.remainder(truth(query).yaw - truth(match).yaw, 2 * math.pi)
    turned = Pose.planar(0.0, 0.0, turn + math.radians(off_deg)) if rotation else None
    assert graph.add_closure(query + 1, match + 1, turned)


def error_m(poses, first=0):
    """RMSE of positions from the truth, in the frame of the first pose."""
    off = poses[:, :3] - rows_of(truth(i + first) for i in range(len(poses)))[:, :3]
    return float(np.sqrt(np.square(off).sum(axis=1).mean()))


@pytest.mark.parametrize("rotation", [True, False])
def test_closures_straighten_the_trajectory(rotation):
    graph = drive()
    for query in range(LAP, 3 * LAP, 3):
        close(graph, query, query - LAP + 1, rotation=rotation)
    result = correct(*graph.snapshot(), graph.config)
    dead = error_m(rows_of(k.odometry for k in graph.keyframes))
    assert error_m(result.poses) < 0.1 * dead if rotation else 0.3 * dead
    assert (result.verdicts[:, 0] == 1).all()


def test_wrong_closures_are_told_from_right_ones():
    graph, rng = drive(), np.random.default_rng(1)
    for query in range(LAP, 3 * LAP, 3):
        close(graph, query, query - LAP)
    right = len(graph.closures)
    clean = error_m(correct(*graph.snapshot(), graph.config).poses)
    for _ in range(12):
        query, match = int(rng.integers(LAP, 3 * LAP)), int(rng.integers(LAP))
        if truth(query).distance_m(truth(match)) > 6:
            close(graph, query, match, off_deg=float(rng.normal(0, 5)))
    result = correct(*graph.snapshot(), graph.config)
    assert (result.verdicts[:right, 0] == 1).all() and (result.verdicts[right:, 0] == 0).all()
    assert len(result.verdicts) > right + 6
    assert error_m(result.poses) < clean + 0.2


def test_an_update_goes_on_from_the_last_and_leaves_old_keyframes_alone():
    config = GraphConfig(window=LAP, max_closures=30)
    graph, result = drive(6 * LAP, 0.3, config), None
    for query in range(LAP, 6 * LAP, 2):
        close(graph, query, query - LAP)
    keyframes, closures = graph.snapshot()
    for count in range(LAP, 6 * LAP + 1, 20):
        known = [c for c in closures if c.query < count]
        last, result = result, correct(keyframes[:count], known, config, result)
        if last is not None and count > 2 * LAP:
            stays = slice(count - LAP - 20)
            assert np.allclose(last.poses[stays], result.poses[stays], atol=1e-9)
    assert error_m(result.poses) < 0.2 * error_m(rows_of(k.odometry for k in keyframes))
    # A quaternion a little off 1 would be twice as much off after each update.
    assert np.abs(np.linalg.norm(result.poses[:, 3:], axis=1) - 1).max() < 1e-12
    assert result.verdicts[:, 0].sum() > 0.97 * len(closures)


def test_odometry_that_starts_anew_is_put_where_two_closures_agree():
    graph = drive(150, 0.0)
    for index in range(100):  # the robot was carried to another place, and counts from 0 again
        pose = truth(50).inverse().compose(truth(50 + index))
        graph.add_keyframe(1000 + index, (150 + 1 + index) * 10**9, pose, "odom")
    assert graph.trajectory == 1
    graph.add_closure(1010, 61, Pose.planar(0.0, 0.0, 0.0))
    assert not correct(*graph.snapshot(), graph.config).on_map[-1]
    graph.add_closure(1020, 71, Pose.planar(0.0, 0.0, 0.0))
    result = correct(*graph.snapshot(), graph.config)
    assert error_m(result.poses[150:], first=50) < 2.5  # 2 % of the way there
    assert result.verdicts[:, 0].tolist() == [1, 1]


def test_a_closure_said_twice_joins_nothing(tmp_path):
    """Two databases answer one keyframe: with the same place, or with that beside it."""
    graph = drive(150, 0.0)
    elsewhere(graph, 1000, 100, "of a carried robot", start=50)
    for match in (61, 61, 62, 61):
        assert graph.add_closure(1010, match, Pose.planar(0.0, 0.0, 0.0))
    assert len(graph.closures) == 2
    result = correct(*graph.snapshot(), graph.config)
    assert not result.on_map[-1]
    path = tmp_path / "office.vprgraph"
    save_graph(path, graph.snapshot(), result)
    before = read_graph(path)
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")  # twice
    again = PoseGraph()
    known = load_graph(tmp_path / "office.vprmap", again)
    assert len(known.verdicts) == len(again.closures) == 2
    assert before.closures == read_graph(path).closures[:2]
    assert not correct(*again.snapshot(), again.config, known).on_map[-1]


def test_rows_of_poses_as_gtsam_has_them():
    rng = np.random.default_rng(0)
    a, b = rows = rng.normal(size=(2, 50, 7))
    rows[..., 3:] /= np.linalg.norm(rows[..., 3:], axis=-1, keepdims=True)
    b[:5], shares = a[:5], rng.random(50)
    results = zip(compose_rows(a, b), between_rows(a, b, shares), strict=True)
    for one, two, share, (composed, between) in zip(a, b, shares, results, strict=True):
        first, second = to_pose3(one), to_pose3(two)
        assert first.compose(second).equals(to_pose3(composed), 1e-9)
        way = first.retract(share * first.localCoordinates(second))
        assert way.equals(to_pose3(between), 1e-6)


def test_closures_that_disagree_join_nothing():
    graph = drive(LAP, 0.0)
    for index in range(40):
        graph.add_keyframe(1000 + index, (LAP + index) * 10**9, Pose.planar(-index, 0.0, 0.0), "b")
    graph.add_closure(1010, 11, Pose.planar(0.0, 0.0, 0.0))
    graph.add_closure(1020, 101, Pose.planar(0.0, 0.0, 1.0))
    result = correct(*graph.snapshot(), graph.config)
    assert not result.on_map[-1] and np.isnan(result.verdicts).all()


def test_a_small_step_back_in_time_begins_no_trajectory_and_a_large_one_does():
    graph = drive(5, 0.0)
    for id, back_ns in ((100, 50_000_000), (101, 0)):
        stamp_ns = 4 * 10**9 - back_ns
        assert graph.add_keyframe(id, stamp_ns, truth(4), "odom")
    assert not graph.add_keyframe(102, 10**9, truth(4), "odom")
    assert not graph.add_keyframe(103, 2 * 10**9, truth(4), "another odom")
    assert graph.trajectory == 2


def test_unknown_keyframes_and_keyframes_twice():
    graph = drive(10)
    assert not graph.add_closure(3, 99)
    assert not graph.add_closure(3, 3)
    assert graph.add_keyframe(3, 0, Pose.planar(9.0, 9.0, 0.0), "odom")
    assert len(graph) == 10
    assert len(correct([], [], GraphConfig()).poses) == 0


def test_a_saved_graph_is_the_map_of_the_next_run(tmp_path):
    graph = drive()
    for query in range(LAP, 3 * LAP, 5):
        close(graph, query, query - LAP)
    result = correct(*graph.snapshot(), graph.config)
    save_graph(tmp_path / "office.vprgraph", graph.snapshot(), result, "map")
    with pytest.raises(GraphError, match="is in frame 'map', and map_frame is 'world'"):
        load_graph(tmp_path / "office.vprmap", PoseGraph(), "world")
    again = PoseGraph()
    assert len(load_graph(tmp_path / "office.vprmap", again, "map").poses) == 3 * LAP
    assert {k.trajectory for k in again.keyframes} == {-1}
    off = apart_rows(rows_of(k.odometry for k in again.keyframes), result.poses)
    assert max(off[0]) < 1e-6 and max(off[1]) < 1e-4
    # A drive somewhere on it, from a zero of its own
    for index in range(60):
        pose = truth(30).inverse().compose(truth(30 + index))
        again.add_keyframe(5000 + index, index * 10**9, pose, "odom")
        if index % 5 == 0:
            again.add_closure(5000 + index, 31 + index, Pose.planar(0.0, 0.0, 0.0))
    joined = correct(*again.snapshot(), again.config)
    assert max(apart_rows(joined.poses[3 * LAP :], result.poses[30:90])[0]) < 0.5


def elsewhere(graph, first, count, frame, start=30):
    """A drive from the place of that step on, from a zero of its own."""
    for index in range(count):
        pose = truth(start).inverse().compose(truth(start + index))
        graph.add_keyframe(first + index, (first + index) * 10**9, pose, frame)


def test_days_on_one_map_lose_nothing_that_was_saved(tmp_path):
    """A trajectory that joins the map, one that never does, and one that does a day later."""
    path, office = tmp_path / "office.vprgraph", tmp_path / "office.vprmap"
    graph = drive(LAP)
    close(graph, LAP - 1, 3)
    elsewhere(graph, 2000, 20, "of a carried robot")
    graph.add_closure(2005, 36, Pose.planar(0.0, 0.0, 0.0))  # one is too few
    save_graph(path, graph.snapshot(), correct(*graph.snapshot(), graph.config))
    first = read_graph(path)
    assert [k.id for k in first.keyframes if k.pose is None] == [*range(2000, 2020)]

    for day, extra in enumerate((None, 2015), 2):
        before, graph = read_graph(path), PoseGraph()
        known = load_graph(office, graph)
        elsewhere(graph, 3000 * day, 30, "odom")
        for index in range(0, 20, 5):
            graph.add_closure(3000 * day + index, 31 + index, Pose.planar(0.0, 0.0, 0.0))
        if extra:
            graph.add_closure(extra, 46, Pose.planar(0.0, 0.0, 0.0))
        save_graph(path, graph.snapshot(), correct(*graph.snapshot(), graph.config, known))
        now = read_graph(path)
        later = {k.id: k for k in now.keyframes}
        for k in before.keyframes:
            assert (later[k.id].stamp_ns, later[k.id].odometry) == (k.stamp_ns, k.odometry)
            assert k.pose is None or later[k.id].pose.distance_m(k.pose) < 1e-6
        kept = {(c.query_id, c.match_id): c for c in now.closures}
        assert all(kept[c.query_id, c.match_id].accepted >= c.accepted for c in before.closures)
        assert all(k.pose for k in now.keyframes if k.id >= 3000 * day)  # the last 10, too
    assert len({k.trajectory for k in now.keyframes}) == 4
    assert graph_path(office) == path != graph_path(tmp_path / "office.2")
    assert all(k.pose for k in now.keyframes), "a second closure has joined the carried robot"
    write_g2o(tmp_path / "a.g2o", now, graph.config)
    factors, _ = gtsam.readG2o(str(tmp_path / "a.g2o"), True)
    steps = LAP - 1 + 19 + 29 + 29  # of odometry; it leads from no day to the next
    assert factors.size() == steps + sum(c.accepted for c in now.closures)


def test_a_full_graph_drops_the_oldest_and_goes_on(tmp_path):
    config = GraphConfig(max_keyframes=LAP, window=50)
    graph, last, most = drive(LAP - 1, 0.0, config), None, 0
    for index, pose in enumerate(odometry(3 * LAP, 0.0)):
        if index < LAP - 1:
            continue
        graph.add_keyframe(index + 1, index * 10**9, pose, "odom")
        if index >= LAP + 20:
            for back in (LAP - 40, 5):  # the first of them are dropped, to the last
                graph.add_closure(index + 1, index + 1 - back, Pose.planar(0.0, 0.0, 0.0))
        if (kept := graph.shrink()) is not None:
            last = last and last.of(*kept)
        if index % 20 == 0:
            last = correct(*graph.snapshot(), config, last)
        most = max(most, len(graph), len(graph.closures))
    assert most <= LAP + 1 and graph.keyframes[0].id == 1 and graph.keyframes[1].id > LAP
    assert [graph.index_of(k.id) for k in graph.keyframes] == [*range(len(graph))]
    last = correct(*graph.snapshot(), config, last)
    assert last.on_map.all() and not np.isnan(last.verdicts[:, 0]).any()
    save_graph(tmp_path / "a.vprgraph", graph.snapshot(), last)
    with pytest.raises(GraphError, match=r"graph.max_keyframes is 100"):
        load_graph(tmp_path / "a.vprmap", PoseGraph(GraphConfig(max_keyframes=100)))


def test_exports(tmp_path):
    graph = drive(LAP + 50)
    for query in range(LAP, LAP + 50, 5):
        close(graph, query, query - LAP)
    close(graph, LAP + 20, 100)
    result = correct(*graph.snapshot(), graph.config)
    save_graph(tmp_path / "a.vprgraph", graph.snapshot(), result)
    stored = read_graph(tmp_path / "a.vprgraph")
    rows = np.array([line.split() for line in tum_text(stored).splitlines()], float)
    assert rows.shape == (LAP + 50, 8)
    assert np.allclose(rows[:, 1:4], result.poses[:, :3], atol=1e-6)
    write_g2o(tmp_path / "a.g2o", stored, graph.config)
    factors, values = gtsam.readG2o(str(tmp_path / "a.g2o"), True)
    assert values.size() == LAP + 50
    assert factors.size() == LAP + 49 + 10  # the wrong closure is left out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no pose graph"),
        ("vpr_ros pose graph 1\nkeyframe 1 2\n", "line 2: a keyframe has"),
        ("vpr_ros pose graph 1\nkeyframe 1 2 0 0 0 0 0 0 0 0\n", "line 2: its pose"),
        ("vpr_ros pose graph 1\nkeyframe 0 2 0 0 0 0 0 0 0 1\n", "line 2: id"),
        ("vpr_ros pose graph 1\nkeyframe 1 2 0 0 0 nan 0 0 0 1\n", "line 2: its pose"),
        ("vpr_ros pose graph 1\n" + "keyframe 1 2 0 0 0 0 0 0 0 1\n" * 2, "line 3: .*twice"),
        ("vpr_ros pose graph 1\nclosure 1 2 1\n", "line 2: its keyframes"),
        ("vpr_ros pose graph 1\nvertex 1\n", "line 2: neither"),
        ("vpr_ros pose graph 1\nframe a b\n", "line 2: neither"),
    ],
)
def test_a_file_that_is_no_graph_is_refused(tmp_path, text, says):
    (tmp_path / "a.vprgraph").write_text(text)
    with pytest.raises(GraphError, match=says):
        read_graph(tmp_path / "a.vprgraph")


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(GraphError, match="does not exist"):
        read_graph(tmp_path / "none.vprgraph")
    graph = drive(3)
    result = correct(*graph.snapshot(), graph.config)
    (tmp_path / "notes.txt").write_text("what somebody else wrote")
    with pytest.raises(GraphError, match="cannot be written"):
        save_graph(tmp_path / "notes.txt" / "b.vprgraph", graph.snapshot(), result)
    with pytest.raises(GraphError, match="no pose graph"):
        save_graph(tmp_path / "notes.txt", graph.snapshot(), result)
    assert (tmp_path / "notes.txt").read_text() == "what somebody else wrote"


def test_without_gtsam_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "gtsam", None)
    with pytest.raises(GraphError, match="pip install"):
        PoseGraph()
