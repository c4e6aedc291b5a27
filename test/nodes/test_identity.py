# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes of two encoders never get mixed up, nor do the descriptors of two models."""

import messages
import pytest
from robot import read_errors
from sensor_msgs.msg import Image

from vpr_msgs.msg import Keyframe, LoopClosure, Query
from vpr_msgs.srv import FindPlace, LoadMap, SaveMap
from vpr_ros.core.map_file import read_map

GATES_OPEN = {
    "loop__score_threshold": 0.9,
    "database__exclude_recent_s": 0.0,
    "loop__verified_candidates": 0,
}
RIGHT, WRONG = "a" * 32, "b" * 32  # digests of the weights
ERROR, OK = b"\x02", b"\x00"


def send(robot, numbers, **fields):
    """Send keyframes one by one, each with an id of its own; returns their answers."""
    if not hasattr(robot, "keyframes"):
        robot.keyframes = robot.publisher(Keyframe, "keyframes", 100)
        robot.sent = getattr(robot, "sent", 0)
        if not robot.heard["queries"]:
            robot.listen(Query, "queries")
    queries, answers = robot.heard["queries"], []
    for number in numbers:
        robot.sent += 1
        known = len(queries)
        robot.keyframes.publish(
            messages.keyframe(number, robot.stamp(), id=1000 + robot.sent, **fields)
        )
        robot.wait(lambda n=known: len(queries) > n, f"an answer to keyframe {robot.sent}")
        answers.append(queries[-1])
    return answers


@pytest.fixture
def old_map(robot, tmp_path):
    """A map of 30 keyframes of a model with the RIGHT weights."""
    path = tmp_path / "office.vprmap"
    robot.start("database", map_folder=tmp_path)
    send(robot, range(30), model_digest=RIGHT, provider="CUDAExecutionProvider")
    assert robot.call(SaveMap, "save_map", path=str(path)).success
    assert read_map(path).providers == ("CUDAExecutionProvider",)
    robot.kill("database")
    robot.node.destroy_publisher(robot.keyframes)
    del robot.keyframes
    return path


def health(robot):
    """Level and text of the next report."""
    robot.status.pop("database")
    robot.wait(lambda: "database" in robot.status, "a report")
    return robot.status["database"]["level"], robot.status["database"]["message"]


@pytest.mark.parametrize(("model", "digest"), [("m", WRONG), ("other", WRONG), ("other", "")])
def test_a_map_of_another_model_answers_and_says_so_once(robot, old_map, model, digest):
    before = old_map.read_bytes()
    robot.start("database", map=old_map, **GATES_OPEN)
    answers = send(robot, range(10), model=model, model_digest=digest)
    assert {a.reason for a in answers} == {Query.OTHER_MODEL}
    assert all("map_mismatch" in a.message and a.keyframes == 30 for a in answers)
    level, text = health(robot)
    assert level == ERROR and f"'{model}" in text and "'m (weights aaaaaaaa)'" in text
    assert len(robot.told("so no loop can be closed")) == 1
    send(robot, range(10), model_digest=RIGHT)
    assert health(robot)[0] == OK
    assert old_map.read_bytes() == before


def test_if_asked_it_works_on_with_an_empty_database_of_its_own(robot, old_map):
    before = old_map.read_bytes()
    robot.start("database", map=old_map, map_folder=old_map.parent, **GATES_OPEN)
    closures = robot.listen(LoopClosure, "loop_closures")
    assert send(robot, [0], model_digest=WRONG)[0].reason == Query.OTHER_MODEL
    assert robot.set("database", "map_mismatch", "new").successful

    first = send(robot, range(20), model_digest=WRONG)
    assert {a.reason for a in first[:11]} == {Query.NO_OLDER_PLACES}
    assert [a.keyframes for a in first] == list(range(1, 21))
    second = send(robot, range(20), model_digest=WRONG)
    assert {a.reason for a in second} == {Query.ACCEPTED}
    robot.wait(lambda: len(closures) == 20, "the closures")
    assert health(robot)[0] == OK

    for fields in ({}, {"overwrite": True}, {"path": str(old_map), "overwrite": True}):
        refused = robot.call(SaveMap, "save_map", **fields)
        assert not refused.success, fields
    refused = robot.call(LoadMap, "load_map")
    assert not refused.success and "weights aaaaaaaa" in refused.message
    mine = old_map.with_name("mine.vprmap")
    assert robot.call(SaveMap, "save_map", path=str(mine)).keyframes == 40
    assert old_map.read_bytes() == before

    (again,) = send(robot, [7], model_digest=RIGHT)  # the old model comes back, and its map
    assert again.reason == Query.ACCEPTED and again.keyframes == 31
    assert robot.call(SaveMap, "save_map").success


def test_strange_keyframes_that_came_first_do_not_lock_the_robot_out(robot):
    robot.start("database")
    send(robot, [0, 1, 2], model_digest=WRONG)
    answers = send(robot, range(10), model_digest=RIGHT)
    assert [a.reason == Query.OTHER_MODEL for a in answers] == [True] * 3 + [False] * 7
    assert answers[-1].keyframes == 7
    # Now the robot's own are more, and a stranger in between changes nothing.
    for step in range(5):
        (strange,) = send(robot, [20 + step], model_digest=WRONG)
        (own,) = send(robot, [20 + step], model_digest=RIGHT)
        assert strange.reason == Query.OTHER_MODEL != own.reason


def test_the_number_of_databases_is_bounded(robot):
    robot.start("database", map_mismatch="new")
    reasons = [send(robot, [i], model_digest=f"{i:032}")[0].reason for i in range(10)]
    assert reasons == [Query.NO_OLDER_PLACES] * 4 + [Query.OTHER_MODEL] * 6
    assert send(robot, [50], model_digest=f"{2:032}")[0].keyframes == 2


def test_a_map_of_unknown_weights_is_taken_by_its_name_with_one_warning(robot, tmp_path):
    path = tmp_path / "old.vprmap"
    robot.start("database", map_folder=tmp_path)
    send(robot, range(15))
    assert robot.call(SaveMap, "save_map", path=str(path)).success
    robot.kill("database")
    robot.node.destroy_publisher(robot.keyframes)
    del robot.keyframes
    process = robot.start("database", map=path, **GATES_OPEN)
    answers = send(robot, range(5), model_digest=RIGHT)
    assert {a.reason for a in answers} == {Query.ACCEPTED}
    assert read_errors(process).count("does not say with which weights") == 1
    assert send(robot, [5], model_digest=WRONG)[0].reason == Query.OTHER_MODEL


def encode(robot, picture, numbers):
    """Show pictures to the encoder, each answered before the next."""
    if not hasattr(robot, "camera"):
        robot.camera = robot.publisher(Image, "image")
        robot.listen(Query, "queries")
    queries, answers = robot.heard["queries"], []
    for number in numbers:
        known = len(queries)
        robot.camera.publish(messages.raw(picture(number), robot.stamp()))
        robot.wait(lambda n=known: len(queries) > n, "an answer")
        answers.append(queries[-1])
    return answers


def test_the_encoders_model_changes_while_it_runs(robot, picture):
    robot.start("encoder", gate__interval_s=0.0, gate__change=0.0)
    robot.start("database", map_mismatch="new")
    robot.wait_for_database()
    encode(robot, picture, range(5))
    assert robot.set("encoder", "model", "mobilenetv2-gem").successful
    answers = encode(robot, picture, range(5, 8))
    assert [a.keyframes for a in answers] == [1, 2, 3]
    image = messages.raw(picture(6), robot.stamp())
    found = robot.call(FindPlace, "find_place", image=image)
    assert found.success and found.candidates[0].id == answers[1].query_id
    assert robot.set("database", "map_mismatch", "refuse").successful
    assert robot.set("encoder", "model", "tat-vpr-s").successful
    (refused,) = encode(robot, picture, [8])
    assert refused.reason == Query.OTHER_MODEL and "'tat-vpr-s (weights" in refused.message
    found = robot.call(FindPlace, "find_place", image=image)
    assert not found.success and "'mobilenetv2-gem (weights" in found.message


def test_every_run_of_an_encoder_has_ids_of_its_own(robot, picture):
    runs = []
    keyframes = robot.heard["keyframes"]
    for run in range(2):
        robot.start("encoder", gate__interval_s=0.0)
        if run == 0:
            robot.listen(Keyframe, "keyframes")
        camera = robot.publisher(Image, "image")
        for number in range(3):
            while len(keyframes) <= 3 * run + number:  # the new encoder may not be found yet
                camera.publish(messages.raw(picture(number), robot.stamp()))
                robot.spin(0.5)
        runs.append([k.id for k in keyframes[3 * run :]])
        robot.kill("encoder")
        robot.node.destroy_publisher(camera)
    assert {len(k.model_digest) for k in keyframes} == {32}
    for ids in runs:
        assert ids == [ids[0], ids[0] + 1, ids[0] + 2] and 0 < ids[0] < 2**63
    assert not set(runs[0]) & set(runs[1])
    assert abs(runs[0][0] - runs[1][0]) > 1_000_000  # the second of the start says nothing
