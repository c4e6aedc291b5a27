# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node lives on whatever its callbacks, rclpy or its start-up raise."""

import os
import subprocess
import sys
import time

import pytest
import rclpy
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from robot import read_errors

from tools.dds_domain import free_domain
from vpr_msgs.msg import LoopClosure
from vpr_msgs.srv import FindPlace, SaveMap
from vpr_ros.core.errors import MapError
from vpr_ros.nodes import diagnostics
from vpr_ros.nodes.guarded_node import Backlog, GuardedExecutor, GuardedNode
from vpr_ros.nodes.start import CONFIGURATION


@pytest.fixture
def node():
    domain, holder = free_domain()
    rclpy.init(domain_id=domain)
    node = GuardedNode("guarded")
    yield node
    node.destroy_node()
    rclpy.shutdown()
    holder.close()


@pytest.fixture
def executor(node):
    executor = GuardedExecutor(node.problems)
    executor.add_node(node)
    return executor


def spin_until(executor, condition):
    end = time.monotonic() + 40
    while not condition():
        executor.spin_once(timeout_sec=0.1)
        assert time.monotonic() < end


def fail(*_):
    return [][3]


async def fail_later(*_):
    return {}["key"]


def test_what_callbacks_raise_is_counted_and_told_to_who_asked(node, executor):
    node.create_service(SaveMap, "save", fail)
    node.create_service(FindPlace, "find", fail_later)
    node.create_subscription(Odometry, "odom", fail, 10)
    node.create_timer(0.05, fail)
    publisher = node.create_publisher(Odometry, "odom", 10)
    calls = [
        node.create_client(SaveMap, "save").call_async(SaveMap.Request()),
        node.create_client(FindPlace, "find").call_async(FindPlace.Request()),
    ]
    publisher.publish(Odometry())
    spin_until(executor, lambda: all(call.done() for call in calls))
    spin_until(executor, lambda: node.problems.unforeseen > 6)  # the timer goes on
    save, find = (call.result() for call in calls)
    assert not save.success and save.message.startswith("IndexError: list index out of range (")
    assert "test_guarded_node.py" in save.message
    assert not find.success and find.message.startswith("KeyError: 'key'")


def test_a_fault_of_rclpy_leaves_the_subscription_alive(node, executor, monkeypatch):
    heard = []
    node.create_subscription(Odometry, "odom", heard.append, 10)
    publisher = node.create_publisher(Odometry, "odom", 10)
    take, faults = executor._take_subscription, [MemoryError("no room"), RuntimeError("bad data")]

    def failing(subscription):
        message = take(subscription)
        if faults and subscription.topic_name == "/odom":
            raise faults.pop()
        return message

    monkeypatch.setattr(executor, "_take_subscription", failing)
    for _ in range(3):
        publisher.publish(Odometry())
    spin_until(executor, lambda: heard)
    assert node.problems.count == 2 and node.problems.last.startswith("MemoryError: no room")


def test_what_waits_at_the_end_is_handled_behind_one_that_fails(node):
    handled = []
    backlog = Backlog(node, 10, lambda n: handled.append(6 // n), fail)
    for number in (1, 0, 2):
        backlog.put(number)
    backlog.finish()
    assert handled == [6, 3] and node.problems.count == 1


def test_a_problem_is_current_until_it_has_not_come_again_for_a_while(node, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(diagnostics.time, "monotonic", lambda: now[0])
    node.problems.add(MapError("gone\n\x1b[2Jwrong " + "x" * 100_000))
    assert node.problems.current.startswith("gone  [2Jwrong x")
    assert len(node.problems.current) < 1000
    assert node.problems.unforeseen == 0
    now[0] += diagnostics.CURRENT_S
    assert node.problems.current == "" and node.problems.count == 1 and node.problems.last


def test_parameter_values_of_unknown_type_are_refused(robot):
    for name, real in (("encoder", "battery.hysteresis"), ("database", "loop.precision")):
        robot.start(name)
        for code in (10, 255):
            bad = Parameter(name=real, value=ParameterValue(type=code))
            good = Parameter(name=real, value=ParameterValue(type=3, double_value=0.5))
            answer = robot.call(
                SetParameters, f"{name}/set_parameters", parameters=[good, bad, good]
            )
            assert [r.successful for r in answer.results] == [True, False, True]
            assert f"{code} is not a valid" in answer.results[1].reason
            answer = robot.call(
                SetParametersAtomically,
                f"{name}/set_parameters_atomically",
                parameters=[good, bad],
            )
            assert not answer.result.successful and str(code) in answer.result.reason
        assert robot.call(GetParameters, f"{name}/get_parameters", names=["none"]).values == []
        robot.wait(lambda name=name: robot.status[name].get("unforeseen") == "4", "4 problems")
        assert "ValueError" in robot.status[name]["last_problem"]
    errors = read_errors(robot.processes["encoder"])
    assert errors.count("ValueError") == 1 and "Traceback" not in errors  # throttled


@pytest.mark.parametrize("of", [LoopClosure, LoopClosure()])
def test_messages_of_an_older_build_are_told_with_the_way_out(of):
    with pytest.raises(AttributeError) as caught:
        of.newer  # noqa: B018
    assert "build the workspace anew" in diagnostics.describe(caught.value)
    assert "anew" not in diagnostics.describe(AttributeError("'int' object has no attribute 'x'"))


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--params-file", "{folder}/bad.yaml"], {}, ("bad.yaml",)),
        (["--params-file", "{folder}/none.yaml"], {}, ("none.yaml",)),
        (["-p", "loop.precision:=[1, x]"], {}, ("loop.precision",)),
        (["-p", "loop.precision:=7.0"], {}, ("loop.precision", "0.999")),
        (["-r", "keyframes:=/camera/keyframes/"], {}, ("/camera/keyframes/",)),
        (["-r", "__ns:=/9 lives"], {}, ("9 lives",)),
        ([], {"ROS_LOG_DIR": "/proc/log"}, ("/proc/log",)),
    ],
)
def test_what_keeps_a_node_from_starting_takes_one_line(arguments, environment, words, tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1\n  b: }\n")
    code = "from vpr_ros.nodes.start import database; database()"
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    run = subprocess.run(
        [sys.executable, "-c", code, "--ros-args", *arguments],
        env=dict(os.environ) | environment,  # it ends before it talks to anybody
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    lines = [line for line in run.stderr.splitlines() if line.startswith("vpr_ros: ")]
    assert run.returncode == CONFIGURATION and len(lines) == 1 and "Traceback" not in run.stderr, (
        run.stderr
    )
    assert all(word in lines[0] for word in words), run.stderr
