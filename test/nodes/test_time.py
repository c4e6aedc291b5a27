# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wrong stamps cost nothing but themselves: no false loop, no lost frame, no lost keyframe."""

import messages
import numpy as np
import pytest
from sensor_msgs.msg import Image

from vpr_msgs.msg import Keyframe, Query
from vpr_ros.nodes.conversions import to_time

S = 1_000_000_000
START_NS = 1_700_000_000 * S


def answer_all(robot, numbers, stamps_ns):
    """The answers to keyframes that look like their numbers."""
    queries = robot.listen(Query, "queries")
    publisher = robot.publisher(Keyframe, "keyframes", 500)
    for i, (number, stamp) in enumerate(zip(numbers, stamps_ns, strict=True)):
        publisher.publish(messages.keyframe(number, to_time(int(stamp)), id=1000 + i))
        robot.wait(lambda n=i: len(queries) > n, f"answer {i}")
    return queries


@pytest.mark.parametrize(
    "shift_s", [-1e-9, -0.05, 0.0, 3e8], ids=["1 ns", "50 ms", "duplicate", "2035"]
)
def test_three_wrong_stamps_close_no_loop_and_open_no_session(robot, shift_s):
    """12 s at 10 Hz, three stamped wrongly: 6 closures with views 1 to 3 s old, once."""
    robot.start("database", loop__score_threshold=0.9, loop__verified_candidates=0)
    stamps = START_NS + np.arange(120) * S // 10
    for at in (30, 60, 90):
        stamps[at] = stamps[at - 1] + round(shift_s * S)
    numbers = [i // 15 for i in range(120)]  # a slow robot: views alike for 1.5 s
    answers = answer_all(robot, numbers, stamps)
    assert not [a for a in answers if a.reason == Query.ACCEPTED]
    assert robot.heard["loop_closures"] == []
    assert {a.keyframes for a in answers} == set(range(1, 121))


def test_a_recording_that_starts_again_closes_its_loops(robot):
    robot.start("database", loop__score_threshold=0.9, loop__verified_candidates=0)
    stamps = START_NS + np.arange(40) * S
    answers = answer_all(robot, [*range(40)] * 2, [*stamps, *stamps])
    assert {a.reason for a in answers[40:]} == {Query.ACCEPTED}
    robot.wait(lambda: robot.status["database"]["keyframes"] == "80", "the count")
    assert robot.status["database"]["latency_p50_ms"] == "nan"  # it is years old


def test_a_5_hz_camera_loses_no_frame_to_an_interval_of_a_fifth_of_a_second(robot, picture):
    robot.start("encoder", gate__change=0.0)  # what is encoded becomes a keyframe
    keyframes = robot.listen(Keyframe, "keyframes")
    camera = robot.publisher(Image, "image")
    random = np.random.default_rng(0)
    camera.publish(messages.raw(picture(0), to_time(START_NS)))
    robot.wait(lambda: keyframes, "the first keyframe")
    for i in range(1, 30):
        stamp = START_NS + i * S // 5 + round(random.uniform(-0.0005, 0.0005) * S)
        camera.publish(messages.raw(picture(i), to_time(stamp)))
        robot.wait(lambda n=i: len(keyframes) > n, f"keyframe {i}")
    for i in range(4):  # and no more than five a second
        camera.publish(messages.raw(picture(90 + i), to_time(stamp + (i + 1) * S // 30)))
        robot.spin(0.2)
    assert len(keyframes) == 30
    robot.wait(lambda: robot.status["encoder"]["keyframes"] == "30", "the count")
    assert robot.status["encoder"]["latency_p50_ms"] == "nan"  # the stamps are years old
