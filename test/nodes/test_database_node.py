# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Maps survive, questions are answered, bad keyframes are refused."""

import math
import signal

import messages
import pytest
from sensor_msgs.msg import Image

from vpr_msgs.msg import Keyframe, LoopClosure, Query
from vpr_msgs.srv import FindPlace, LoadMap, SaveMap


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
    path = str(tmp_path / "office.vprmap")
    robot.start("database")
    sent, _, _ = fill(robot, 50)
    saved = robot.call(SaveMap, "save_map", path=path)
    assert saved.success and saved.keyframes == 50 and saved.bytes > 0, saved.message
    before = robot.call(FindPlace, "find_place", descriptor=sent[7].descriptor, count=50)
    robot.kill("database")
    robot.start("database")
    loaded = robot.call(LoadMap, "load_map", path=path)
    assert loaded.success and loaded.keyframes == 50, loaded.message
    after = robot.call(FindPlace, "find_place", descriptor=sent[7].descriptor, count=50)
    assert after.candidates == before.candidates and after.candidates[0].id == sent[7].id


def test_the_map_parameter_loads_at_the_start(robot, tmp_path):
    path = str(tmp_path / "office.vprmap")
    robot.start("database", map=path)  # not there yet: no problem
    fill(robot, 12)
    assert robot.call(SaveMap, "save_map").success
    robot.kill("database")
    robot.start("database", map=path)
    assert robot.status["database"]["keyframes"] == "12"


def test_a_corrupt_map_costs_a_message_not_the_node(robot, tmp_path):
    path = tmp_path / "office.vprmap"
    path.write_bytes(b"PK\x03\x04 not a map")
    process = robot.start("database", map=path)
    assert "is damaged" in robot.status["database"]["last_problem"]
    fill(robot, 3)
    refused = robot.call(SaveMap, "save_map", path=str(path))
    assert not refused.success and "overwrite" in refused.message
    assert path.read_bytes() == b"PK\x03\x04 not a map"
    refused = robot.call(LoadMap, "load_map", path=str(tmp_path / "nowhere.vprmap"))
    assert not refused.success and "does not exist" in refused.message
    refused = robot.call(SaveMap, "save_map", path="/dev/null/office.vprmap")
    assert not refused.success and "cannot be written" in refused.message
    refused = robot.call(SaveMap, "save_map")
    assert not refused.success and "overwrite" in refused.message
    assert process.poll() is None


def test_another_models_map_and_keyframes_are_refused(robot, tmp_path):
    path = str(tmp_path / "office.vprmap")
    robot.start("database")
    fill(robot, 3)
    assert robot.call(SaveMap, "save_map", path=path).success
    robot.kill("database")
    robot.start("database")
    publisher = robot.publisher(Keyframe, "keyframes", 100)
    publisher.publish(keyframe(robot, 1, model="other"))
    robot.wait(lambda: robot.status["database"]["keyframes"] == "1", "a keyframe")
    refused = robot.call(LoadMap, "load_map", path=path)
    assert not refused.success and "'m'" in refused.message and "'other'" in refused.message
    assert robot.call(LoadMap, "load_map", path=path, replace=True).success
    publisher.publish(keyframe(robot, 2, model="other"))
    robot.wait(lambda: "'other'" in robot.status["database"]["message"], "a complaint")
    assert robot.status["database"]["keyframes"] == "3"


@pytest.mark.parametrize(
    ("case", "words"),
    [("nan", "must be finite"), ("length", "has 32 values"), ("twice", "already")],
)
def test_a_bad_keyframe_is_refused(robot, case, words):
    robot.start("database")
    _, publisher, queries = fill(robot, 3)
    bad = keyframe(robot, 9, size=32 if case == "length" else 64)
    if case == "nan":
        bad.descriptor[3] = math.nan
    if case == "twice":
        bad.id = 101
    publisher.publish(bad)
    robot.wait(lambda: words in robot.status["database"]["last_problem"], words)
    publisher.publish(keyframe(robot, 10))
    robot.wait(lambda: len(queries) == 4, "the next answer")


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


def test_markers_join_the_poses(robot):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from visualization_msgs.msg import Marker

    robot.start(
        "database",
        loop__score_threshold=0.9,
        loop__margin_threshold=0.0,
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
    message = keyframe(robot, 0)
    message.id, message.has_pose, message.pose_frame = 3000, True, "odom"
    message.pose.position.x = 2.0
    publisher.publish(message)
    robot.wait(lambda: closures and markers, "a closure and its marker")
    assert (closures[0].query_id, closures[0].match_id) == (3000, 100)
    assert [p.x for p in markers[-1].points] == [2.0, 0.0]
    assert markers[-1].header.frame_id == "odom"
