# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps survive, questions are answered, bad keyframes are refused."""

import math
import os
import signal

import messages
import pytest
from robot import read_errors
from sensor_msgs.msg import Image

from vpr_msgs.msg import Keyframe, LoopClosure, Query
from vpr_msgs.srv import FindPlace, LoadMap, SaveMap
from vpr_ros.core.map_file import read_map


def keyframe(robot, number, **fields):
    """A Keyframe of now."""
    return messages.keyframe(number, robot.stamp(), **fields)


def fill(robot, count):
    """Send keyframes and wait until all are in."""
    queries = robot.listen(Query, "queries")
    publisher = robot.publisher(Keyframe, "keyframes", 100)
    sent = [keyframe(robot, number) for number in range(count)]
    for message in sent:
        publisher.publish(message)
    robot.wait(lambda: len(queries) == count, "all answers")
    return sent, publisher, queries


def test_a_saved_map_survives_kill_9(robot, tmp_path):
    robot.start("database", map_folder=tmp_path)
    sent, _, _ = fill(robot, 50)
    saved = robot.call(SaveMap, "save_map", path="office")
    assert saved.path == str(tmp_path / "office.vprmap")
    assert saved.success and saved.keyframes == 50 and saved.bytes > 0, saved.message
    before = robot.call(FindPlace, "find_place", descriptor=sent[7].descriptor, count=50)
    robot.kill("database")
    robot.start("database", map_folder=tmp_path)
    loaded = robot.call(LoadMap, "load_map", path=saved.path)
    assert loaded.success and loaded.keyframes == 50, loaded.message
    after = robot.call(FindPlace, "find_place", descriptor=sent[7].descriptor, count=50)
    assert after.candidates == before.candidates and after.candidates[0].id == sent[7].id


def test_the_map_of_the_parameter_is_saved_in_time_and_at_exit(robot, tmp_path):
    path = tmp_path / "maps" / "office.vprmap"
    options = {"map": "office", "map_folder": path.parent}
    robot.start("database", **options, map_save_interval_s=0.5)  # not there yet: no problem
    fill(robot, 12)
    robot.wait(lambda: path.exists() and len(read_map(path).ids) == 12, "the map")
    robot.kill("database")
    robot.heard["queries"].clear()
    for number, stop in enumerate((signal.SIGINT, signal.SIGTERM)):
        process = robot.start("database", **options, map_save_interval_s=3600.0)
        known = 12 + number
        assert robot.status["database"]["keyframes"] == str(known)
        publisher = robot.publisher(Keyframe, "keyframes")
        publisher.publish(keyframe(robot, 50 + number))
        robot.wait(lambda n=number: len(robot.heard["queries"]) == n + 1, "an answer")
        assert len(read_map(path).ids) == known
        assert robot.end("database", stop) == 0, read_errors(process)
        assert len(read_map(path).ids) == known + 1
        robot.node.destroy_publisher(publisher)


SLOW = """
import os, time
fsync = os.fsync
def wait_then_sync(file):
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.02)
    fsync(file)
os.fsync = wait_then_sync
"""


def test_a_slow_save_holds_up_no_keyframe(robot, tmp_path, monkeypatch):
    """The storage takes the map only when all keyframes have been answered."""
    go = tmp_path / "go"
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("GO", str(go))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    robot.start("database", map_folder=tmp_path)
    _, publisher, queries = fill(robot, 20)
    client = robot.node.create_client(SaveMap, "save_map")
    robot.wait(client.service_is_ready, "the service")
    saves = [client.call_async(SaveMap.Request(path=f"map{n}")) for n in range(6)]
    robot.wait(lambda: any(s.done() for s in saves), "a refusal")
    for number in range(20, 40):
        publisher.publish(keyframe(robot, number))
    robot.wait(lambda: len(queries) == 40, "all answers")
    assert sum(s.done() for s in saves) == 2  # at most four wait at a time
    assert all("try later" in s.result().message for s in saves if s.done())
    go.touch()
    robot.wait(lambda: all(s.done() for s in saves), "the saves")
    assert sorted(s.result().keyframes for s in saves) == [0, 0, 20, 20, 20, 20]
    assert len(list(tmp_path.glob("*.vprmap"))) == 4
    assert robot.status["database"]["lost_keyframes"] == "0"


def test_no_request_reaches_beyond_the_folder_of_maps(robot, tmp_path):
    folder, outside = tmp_path / "maps", tmp_path / "precious.vprmap"
    outside.write_text("precious")
    folder.mkdir()
    (folder / "notes.vprmap").write_text("my notes")
    (folder / "link.vprmap").symlink_to(outside)
    os.mkfifo(folder / "fifo.vprmap")
    robot.start("database", map_folder=folder)
    fill(robot, 3)
    names = ["/", "/x/**y", str(outside), "../precious", "notes", "link", "fifo", "x" * 5000, ""]
    for name in names:
        for kind, service, more in (
            (SaveMap, "save_map", {"overwrite": True}),
            (LoadMap, "load_map", {"replace": True}),
        ):
            answer = robot.call(kind, service, path=name, **more)
            assert not answer.success and 0 < len(answer.message) < 600, name
    assert outside.read_text() == "precious"
    assert (folder / "notes.vprmap").read_text() == "my notes"
    assert sorted(os.listdir(tmp_path)) == ["maps", "precious.vprmap"]
    assert len(os.listdir(folder)) == 3
    saved = robot.call(SaveMap, "save_map", path="fine")
    assert saved.success and saved.path == str(folder / "fine.vprmap")
    robot.wait(lambda: robot.status["database"]["keyframes"] == "3", "the count")


def test_a_corrupt_map_costs_a_message_not_the_node(robot, tmp_path):
    path = tmp_path / "office.vprmap"
    path.write_bytes(b"PK\x03\x04 not a map")
    process = robot.start("database", map=path, map_folder=tmp_path, map_save_interval_s=0.5)
    assert "is damaged" in robot.status["database"]["last_problem"]
    fill(robot, 3)
    robot.wait(lambda: "exists and was neither" in robot.status["database"]["message"], "a word")
    refused = robot.call(SaveMap, "save_map", path=str(path))
    assert not refused.success and "overwrite" in refused.message
    assert path.read_bytes() == b"PK\x03\x04 not a map"
    refused = robot.call(LoadMap, "load_map", path=str(tmp_path / "nowhere.vprmap"))
    assert not refused.success and "does not exist" in refused.message
    refused = robot.call(SaveMap, "save_map")
    assert not refused.success and "overwrite" in refused.message
    assert process.poll() is None


def test_another_models_map_and_keyframes_are_refused(robot, tmp_path):
    robot.start("database", map_folder=tmp_path)
    _, first, _ = fill(robot, 3)
    assert robot.call(SaveMap, "save_map", path="office").success
    robot.kill("database")
    robot.node.destroy_publisher(first)
    robot.start("database", map_folder=tmp_path)
    publisher = robot.publisher(Keyframe, "keyframes", 100)
    publisher.publish(keyframe(robot, 1, model="other"))
    robot.wait(lambda: robot.status["database"]["keyframes"] == "1", "a keyframe")
    refused = robot.call(LoadMap, "load_map", path="office")
    assert not refused.success and "'m'" in refused.message and "'other'" in refused.message
    assert robot.call(LoadMap, "load_map", path="office", replace=True).success
    publisher.publish(keyframe(robot, 2, model="other"))
    robot.wait(lambda: "'other'" in robot.status["database"]["message"], "a complaint")
    assert robot.status["database"]["keyframes"] == "3"
    robot.node.destroy_publisher(publisher)  # the encoder with that model ends
    robot.wait(lambda: robot.status["database"]["level"] == b"\0", "an end of the complaint")


@pytest.mark.parametrize("mode", ["refuse", "new"])
def test_encoders_of_other_models_that_take_turns_do_not_flood_the_log(robot, mode):
    robot.start("database", map_mismatch=mode)
    _, publisher, queries = fill(robot, 3)
    for number in range(3, 33):
        publisher.publish(keyframe(robot, number, model=("one", "another")[number % 2]))
    robot.wait(lambda: len(queries) == 33, "all answers")
    lines = robot.told("Keyframes come from model")
    robot.spin(1.0)
    assert 1 <= len(lines) <= len(robot.told("Keyframes come from model")) <= 3


def hostile_keyframes(robot):
    """(message, words of the refusal) of keyframes that must not be taken."""

    def made(number, words, **fields):
        message = keyframe(robot, number, **fields)
        return message, words

    def pose(message, **fields):
        message.has_pose = True
        for name, value in fields.items():
            setattr(message.pose.orientation, name, value)

    yield made(3, "has 32 values", size=32)
    yield made(3, "already", id=101)
    yield made(3, "id 0", id=0)
    for words, change in {
        "must be finite": lambda m: m.descriptor.__setitem__(3, math.nan),
        "before 1970 or after 2038": lambda m: setattr(m.header.stamp, "sec", -5),
        "5 s 4000000000 ns": lambda m: (
            setattr(m.header.stamp, "sec", 5),
            setattr(m.header.stamp, "nanosec", 4_000_000_000),
        ),
        "50000 local features": lambda m: (
            setattr(m.features, "keypoints", [1.0] * 100_000),
            setattr(m.features, "descriptors", bytes(50_000 * 32)),
            setattr(m.features, "pixel_size", 1.0),
        ),
        "pixel size": lambda m: (
            setattr(m.features, "extracted", True),
            setattr(m.features, "pixel_size", math.inf),
        ),
        "the pose is not valid": lambda m: pose(m, w=0.0),
        "sparsity": lambda m: setattr(m, "sparsity", math.nan),
        "thumbnail has 70000 bytes": lambda m: setattr(m, "thumbnail", bytes(70_000)),
        "the image width": lambda m: setattr(m, "thumbnail", b"\xff\xd8"),
        "at most 256 characters": lambda m: setattr(m.header, "frame_id", "f" * 1_000_000),
    }.items():
        message, _ = made(3, words)
        change(message)
        yield message, words


def test_hostile_keyframes_are_refused_with_a_reason_and_lost_ones_counted(robot):
    robot.start("database")
    _, publisher, queries = fill(robot, 3)
    for number, (message, words) in enumerate(hostile_keyframes(robot)):
        publisher.publish(message)
        robot.wait(lambda n=number: len(queries) == 4 + n, words)
        answer = queries[-1]
        assert answer.reason == Query.REFUSED and words in answer.message, answer
        assert answer.keyframes == 3 and len(answer.header.frame_id) <= 256
    assert robot.status["database"]["lost_keyframes"] == "0"
    known = len(queries)
    publisher.publish(keyframe(robot, 10))  # after 102 and a refused 103
    robot.wait(lambda: len(queries) == known + 1, "the next answer")
    assert queries[-1].reason == Query.NO_OLDER_PLACES
    robot.wait(lambda: robot.status["database"]["lost_keyframes"] == "6", "the count")
    assert "6 keyframes before 110 did not arrive" in robot.status["database"]["last_problem"]
    assert robot.status["database"]["queries_refused"] == str(known - 3)


def test_keyframes_that_come_too_fast_are_answered_or_counted(robot):
    """Two encoders at once, each faster than the database."""
    robot.start("database", database__exclude_recent_s=0.0)
    queries = robot.listen(Query, "queries", 1000)
    publisher = robot.publisher(Keyframe, "keyframes", 1000)
    runs = [[keyframe(robot, n, id=(run << 23) + 1 + n) for n in range(400)] for run in (1, 2)]
    for pair in zip(*runs, strict=True):
        for message in pair:
            publisher.publish(message)
        robot.spin(0.001)

    def all_told():
        """The status counts as many as were answered."""
        status = robot.status["database"]
        names = "keyframes", "keyframes_left_out", "lost_keyframes"
        taken, left_out, lost = (int(status[name]) for name in names)
        return taken + left_out == len(queries) and taken + left_out + lost == 800

    robot.wait(all_told, "an answer to, or a count of, every keyframe")
    left_out = [q for q in queries if "faster than the database" in q.message]
    assert 0 < len(left_out) == int(robot.status["database"]["keyframes_left_out"]) < 750
    assert {q.reason for q in left_out} == {Query.REFUSED}
    assert {q.query_id >> 23 for q in left_out} == {1, 2}
    known = len(queries)
    publisher.publish(keyframe(robot, 500, id=(2 << 23) + 401))
    robot.wait(lambda: len(queries) > known, "an answer, now in time")
    assert queries[-1].reason != Query.REFUSED


def test_a_bound_lowered_while_running_holds_at_once(robot):
    robot.start("database")
    fill(robot, 40)
    assert robot.set("database", "database.max_keyframes", 20).successful
    robot.wait(lambda: robot.status["database"]["keyframes"] == "20", "room")


def test_without_a_parameter_maps_are_in_the_users_data_folder(robot):
    robot.start("database")
    _, publisher, _ = fill(robot, 3)
    saved = robot.call(SaveMap, "save_map", path="office")
    assert saved.success and saved.path == f"{robot.data.name}/vpr_ros/maps/office.vprmap"
    publisher.publish(keyframe(robot, 9, id=5 << 23))
    publisher.publish(keyframe(robot, 3))
    robot.wait(lambda: "two encoders" in robot.status["database"]["message"], "a complaint")
    assert robot.status["database"]["level"] == b"\x01"


def test_every_query_says_why(robot):
    robot.start("database")
    _, _, queries = fill(robot, 15)
    assert {q.reason for q in queries[:11]} == {Query.NO_OLDER_PLACES}
    assert all(q.message for q in queries)
    assert [q.keyframes for q in queries] == list(range(1, 16))
    assert robot.heard["loop_closures"] == []


def test_find_place_by_image_keyframe_and_descriptor(robot, picture):
    robot.start("encoder", gate__interval_s=0.0)
    robot.start("database")
    queries = robot.listen(Query, "queries")
    camera = robot.publisher(Image, "image", 100)
    robot.wait_for_database()
    for number in range(20):
        camera.publish(messages.raw(picture(number), robot.stamp()))
        robot.wait(lambda n=number: len(queries) > n, "an answer")
    seventh = queries[7]

    image = messages.raw(picture(7), robot.stamp())
    found = robot.call(FindPlace, "find_place", image=image, count=3)
    assert found.success and len(found.candidates) == 3
    assert found.candidates[0].id == seventh.query_id and found.candidates[0].score > 0.999
    robot.wait(lambda: queries[-1].reason == Query.ASKED, "the answer to be published")
    assert queries[-1].candidates == found.candidates

    found = robot.call(
        FindPlace, "find_place", compressed_image=messages.compressed(picture(7), robot.stamp())
    )
    assert found.success and found.candidates[0].id == seventh.query_id

    found = robot.call(FindPlace, "find_place", keyframe_id=seventh.query_id)
    assert found.success
    ids = [q.query_id for q in queries if q.query_id]
    assert not {c.id for c in found.candidates} & set(ids[:18]), "no neighbours in time"

    empty = robot.call(FindPlace, "find_place")
    assert not empty.success and "is empty" in empty.message
    unknown = robot.call(FindPlace, "find_place", keyframe_id=1)
    assert not unknown.success and "not among the 20 in the database" in unknown.message
    short = robot.call(FindPlace, "find_place", descriptor=[1.0, 0.0])
    assert not short.success and "has 2 values" in short.message
    bad = messages.raw(picture(7), robot.stamp(), encoding="bgr9")
    refused = robot.call(FindPlace, "find_place", image=bad)
    assert not refused.success and "'bgr9' is not supported" in refused.message


def test_find_place_does_not_wait_for_a_dead_encoder(robot, picture):
    robot.start("encoder")
    robot.start("database")
    image = messages.raw(picture(7), robot.stamp())
    robot.wait(lambda: robot.call(FindPlace, "find_place", image=image).success, "the encoder")
    robot.processes["encoder"].send_signal(signal.SIGSTOP)
    silent = robot.call(FindPlace, "find_place", image=image)
    robot.processes["encoder"].send_signal(signal.SIGCONT)
    assert not silent.success and "did not answer" in silent.message


def test_markers_join_the_poses(robot, tmp_path):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from visualization_msgs.msg import Marker

    robot.start(
        "database",
        map_folder=tmp_path,
        loop__score_threshold=0.9,
        loop__verified_candidates=0,
        database__exclude_recent_s=0.0,
    )
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    markers = robot.listen(Marker, "loop_markers", latched)
    closures = robot.listen(LoopClosure, "loop_closures")
    publisher = robot.publisher(Keyframe, "keyframes", 100)
    for number in range(12):
        message = keyframe(robot, number)
        message.has_pose, message.pose_frame = True, "odom"
        publisher.publish(message)

    def come_back(x):
        message = keyframe(robot, 0)
        message.id, message.has_pose, message.pose_frame = 3000 + int(x), True, "odom"
        message.pose.position.x = x
        count = len(closures)
        publisher.publish(message)
        robot.wait(lambda: len(markers) == len(closures) == count + 1, "a closure and its marker")

    come_back(2.0)
    assert (closures[0].query_id, closures[0].match_id) == (3002, 100)
    assert [p.x for p in markers[-1].points] == [2.0, 0.0]
    assert markers[-1].header.frame_id == "odom"
    assert robot.call(SaveMap, "save_map", path="office").success
    assert robot.call(LoadMap, "load_map", path="office").success
    come_back(4.0)  # odometry does not begin anew, though sessions are renumbered
    assert [p.x for p in markers[-1].points] == [2.0, 0.0, 4.0, 0.0]
