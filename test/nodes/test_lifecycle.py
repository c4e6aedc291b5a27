# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Managed nodes: nothing before activation, everything released after deactivation."""

from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from vpr_msgs.msg import Keyframe, Query


def change(robot, name, transition):
    """Ask for a transition; whether it succeeded."""
    return robot.call(ChangeState, f"{name}/change_state", transition=Transition(id=transition))


def state(robot, name):
    """The id of the state."""
    return robot.call(GetState, f"{name}/get_state").current_state.id


def ask(robot, keyframes, answers, id):
    """Publish a keyframe and wait for its answer."""
    message = Keyframe(id=id, model="m", descriptor=[1.0, 0.0])
    message.header.stamp = Time(sec=1000 + id)
    keyframes.publish(message)
    robot.wait(lambda: any(q.query_id == id for q in answers), "an answer")


def test_a_database_that_is_activated_twice_keeps_its_map(robot, tmp_path):
    parameters = ["-p", "map:=office", "-p", f"map_folder:={tmp_path}"]
    robot.begin("database", ["--lifecycle"], *parameters)
    assert state(robot, "database") == State.PRIMARY_STATE_UNCONFIGURED
    assert change(robot, "database", Transition.TRANSITION_CONFIGURE).success
    assert "database" not in robot.status  # nothing is there yet
    assert change(robot, "database", Transition.TRANSITION_ACTIVATE).success
    keyframes = robot.publisher(Keyframe, "keyframes")
    answers = robot.listen(Query, "queries")
    for id in range(1, 4):
        ask(robot, keyframes, answers, id)
    assert change(robot, "database", Transition.TRANSITION_DEACTIVATE).success
    assert (tmp_path / "office.vprmap").is_file()
    robot.wait(lambda: keyframes.get_subscription_count() == 0, "the end of the subscription")
    assert state(robot, "database") == State.PRIMARY_STATE_INACTIVE
    assert change(robot, "database", Transition.TRANSITION_ACTIVATE).success
    robot.wait(lambda: keyframes.get_subscription_count() == 1, "the subscription")
    robot.status.clear()
    robot.wait(lambda: robot.status.get("database", {}).get("keyframes") == "3", "the map")


def test_what_cannot_be_activated_stays_inactive_and_says_why(robot):
    robot.begin("database", ["--lifecycle"], "-p", "loop.precision:=7.0")
    assert change(robot, "database", Transition.TRANSITION_CONFIGURE).success
    assert not change(robot, "database", Transition.TRANSITION_ACTIVATE).success
    assert state(robot, "database") == State.PRIMARY_STATE_INACTIVE
    left = robot.node.count_services
    robot.wait(lambda: not left("database/set_parameters"), "what was made of it to go")
