# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Node fleet: what waited while there was no store is sent after a kill, and loops are closed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

from robots import RUN, view

from vpr_msgs.msg import Keyframe, LoopClosure
from vpr_ros.nodes.conversions import from_keyframe

TESTS = Path(__file__).parents[1] / "fleet"
OTHER = 9 << 23


def with_store(uri, code):
    """Run code with an open store in a process of its own: a file has one process at a time."""
    script = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "from robots import *\nfrom vpr_ros.fleet.fleet import Where\n"
        "from vpr_ros.fleet.milvus_fleet import MilvusConfig, MilvusFleet\n"
        f"store = MilvusFleet(MilvusConfig(uri={uri!r}))\n{code}\nstore.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_waited_is_sent_after_a_kill_and_loops_are_closed_with_others(robot, tmp_path):
    uri = str(tmp_path / "fleet.db")
    with_store(uri, f"store.put([view(n, robot='blue', run={OTHER}) for n in range(1, 7)])")

    common = {"fleet__robot": "red", "fleet__map": "office", "fleet__ask_interval_s": "0.2"}
    robot.start("fleet", **common)
    keyframes = robot.publisher(Keyframe, "keyframes", 50)
    for number in range(1, 7):
        keyframes.publish(from_keyframe(view(number, aside_px=40.0).keyframe))
        robot.spin(0.05)
    robot.wait(lambda: robot.status["fleet"]["waiting"] == "6", "the outbox")
    robot.wait(lambda: "milvus.uri is empty" in robot.status["fleet"]["message"], "a way out")
    robot.kill("fleet")

    robot.start("fleet", milvus__uri=uri, **common)
    closures = robot.listen(LoopClosure, "fleet_closures")
    home = robot.publisher(LoopClosure, "loop_closures", 50)
    robot.wait(lambda: keyframes.get_subscription_count() > 0, "the node")
    robot.wait(lambda: robot.status["fleet"]["sent"] == "6", "what waited", 40)
    # The encoder was started again, too.
    for number in range(1, 7):
        keyframes.publish(from_keyframe(view(number, aside_px=40.0, run=RUN + (7 << 23)).keyframe))
        robot.spin(0.05)
    robot.wait(lambda: any(c.match_robot == "blue" for c in closures), "a closure", 40)
    home.publish(LoopClosure(query_id=RUN + (7 << 23) + 6, match_id=RUN + 6))
    keyframes.publish(from_keyframe(view(6, run=RUN + (7 << 23), stamp_ns=5).keyframe))
    robot.wait(lambda: "came twice" in robot.status["fleet"]["last_problem"], "the repeated id")
    bad = from_keyframe(view(8, run=RUN + (7 << 23)).keyframe)
    bad.id = 2**63 + 5
    keyframes.publish(bad)
    robot.wait(lambda: "cannot keep" in robot.status["fleet"]["last_problem"], "the refusal")
    robot.wait(lambda: robot.status["fleet"]["waiting"] == "0", "the outbox", 40)
    assert {c.match_robot for c in closures} <= {"blue", "red"}
    assert all(c.match_id & 7 == c.query_id & 7 and c.inliers > 50 for c in closures)
    pids = 0, robot.processes["fleet"].pid
    own, its = (os.getpriority(os.PRIO_PROCESS, pid) for pid in pids)
    assert its == min(own + 10, 19)
    assert robot.end("fleet") == 0

    assert with_store(uri, "print(store.count(Where('office', 'red')))") == "12\n"
    last = RUN + (7 << 23) + 6
    assert str(RUN + 6) in with_store(uri, f"print(store.get([{last}])[0].links)")
