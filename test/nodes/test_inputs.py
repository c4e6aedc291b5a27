# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every publisher gets through, and bad input costs a message, not the node."""

import itertools

import messages
import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vpr_msgs.msg import Keyframe
from vpr_msgs.srv import EncodeImage, FindPlace
from vpr_ros.core.model_files import DEFAULT_MODEL

OK, WARN = b"\x00", b"\x01"

QOS = {
    "reliable": QoSProfile(depth=5),
    "best effort": qos_profile_sensor_data,
    "reliable, transient local": QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    "best effort, depth 1": QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
}


@pytest.mark.parametrize("qos", QOS)
@pytest.mark.parametrize("kind", [Image, CompressedImage])
def test_every_publisher_gets_through(robot, picture, qos, kind):
    robot.start("encoder")
    keyframes = robot.listen(Keyframe, "keyframes")
    topic, make = {
        Image: ("image", messages.raw),
        CompressedImage: ("image/compressed", messages.compressed),
    }[kind]
    publisher = robot.publisher(kind, topic, QOS[qos])
    stamp = robot.stamp()
    publisher.publish(make(picture(1), stamp))
    robot.wait(lambda: keyframes, "a keyframe")
    (keyframe,) = keyframes
    assert keyframe.header.stamp == stamp and keyframe.header.frame_id == "camera"
    assert keyframe.model == DEFAULT_MODEL
    assert np.linalg.norm(keyframe.descriptor) == pytest.approx(1.0, abs=1e-3)


def test_a_silent_publisher_loses_to_the_other_transport(robot, picture):
    robot.start("encoder")
    keyframes = robot.listen(Keyframe, "keyframes")
    robot.publisher(Image, "image")  # never publishes
    compressed = robot.node.create_publisher(CompressedImage, "image/compressed", 10)
    robot.wait(lambda: compressed.get_subscription_count() > 0, "the encoder to change over")
    compressed.publish(messages.compressed(picture(1), robot.stamp()))
    robot.wait(lambda: keyframes, "a keyframe")


def test_a_camera_whose_transports_are_both_silent_is_not_well(robot):
    """As image_transport leaves them when the camera stalls: each is tried, in turns."""
    robot.start("encoder")
    robot.publisher(Image, "image")
    compressed = robot.node.create_publisher(CompressedImage, "image/compressed", 10)
    robot.wait(lambda: compressed.get_subscription_count() > 0, "the encoder to change over")
    robot.wait(lambda: robot.status["encoder"]["level"] == WARN, "a warning")
    for _ in range(80):
        robot.spin(0.1)
        assert robot.status["encoder"]["level"] == WARN
        assert "no image for" in robot.status["encoder"]["message"]
    assert len(robot.told("Subscribed to")) == 2


BAD = {
    "encoding": (dict(encoding="16UC1"), "'16UC1' is not supported"),
    "size": (dict(height=4000), "The message was cut short or its size is wrong"),
    "empty": (dict(height=0, width=0, data=b""), "Image is empty (0x0)"),
    "step": (dict(step=10), "step is 10 bytes"),
    "stamp": (dict(stamp=None), "has no stamp"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_image_costs_one_message(robot, picture, case):
    fields, complaint = BAD[case]
    fields = dict(fields)
    robot.start("encoder")
    keyframes = robot.listen(Keyframe, "keyframes")
    publisher = robot.publisher(Image, "image")
    for number in range(20):
        bad = messages.raw(picture(number), robot.stamp())
        if "stamp" in fields:
            bad.header.stamp.sec = bad.header.stamp.nanosec = 0
        for name, value in fields.items():
            if name != "stamp":
                setattr(bad, name, value)
        publisher.publish(bad)
        robot.spin(0.02)
    robot.wait(lambda: complaint in robot.status["encoder"]["last_problem"], complaint)
    assert len(robot.told(complaint)) == 1, "twenty bad images, one line"
    publisher.publish(messages.raw(picture(1), robot.stamp()))
    robot.wait(lambda: keyframes, "a keyframe after the bad images")


def test_a_truncated_jpeg_costs_one_message(robot, picture):
    robot.start("encoder")
    keyframes = robot.listen(Keyframe, "keyframes")
    publisher = robot.publisher(CompressedImage, "image/compressed")
    bad = messages.compressed(picture(1), robot.stamp())
    bad.data = bad.data[: len(bad.data) // 2]
    publisher.publish(bad)
    robot.wait(lambda: "cut short" in robot.status["encoder"]["last_problem"], "a complaint")
    publisher.publish(messages.compressed(picture(1), robot.stamp()))
    robot.wait(lambda: keyframes, "a keyframe after the bad image")


@pytest.mark.parametrize("model", ["missing", "corrupt"])
def test_without_a_model_the_encoder_waits_for_one(robot, picture, tmp_path, model):
    path = tmp_path / "model.onnx"
    if model == "corrupt":
        path.write_bytes(b"\x08\x07" + bytes(range(256)) * 20)
    robot.start("encoder", model=path)
    assert robot.status["encoder"]["level"] == b"\x02"
    assert str(path) in robot.status["encoder"]["message"]
    keyframes = robot.listen(Keyframe, "keyframes")
    publisher = robot.publisher(Image, "image")
    publisher.publish(messages.raw(picture(1), robot.stamp()))
    refused = robot.set("encoder", "model", "no-such-model")
    assert not refused.successful and "mobilenetv2-gem" in refused.reason
    assert robot.set("encoder", "model", "mobilenetv2-gem").successful
    publisher.publish(messages.raw(picture(1), robot.stamp()))
    robot.wait(lambda: keyframes, "a keyframe with the new model")
    cpu = "CPUExecutionProvider"
    robot.wait(lambda: robot.status["encoder"]["provider"] == cpu, "what runs the model")


def test_a_provider_that_does_not_run_the_model_is_said(robot):
    robot.start("encoder", provider="warp-drive")
    assert robot.status["encoder"]["level"] == b"\x02"
    assert "Provider 'warp-drive' is not in onnxruntime" in robot.status["encoder"]["message"]


def test_standing_still_adds_nothing_with_and_without_odometry(robot, picture):
    robot.start("encoder")
    keyframes = robot.listen(Keyframe, "keyframes")
    camera = robot.publisher(Image, "image")
    for _ in range(10):
        camera.publish(messages.raw(picture(1), robot.stamp()))
        robot.spin(0.25)
    robot.wait(lambda: keyframes, "a keyframe")
    assert len(keyframes) == 1 and not keyframes[0].has_pose
    wheels, numbers = robot.publisher(Odometry, "odom"), itertools.count(2)

    def see(x):
        stamp = robot.stamp()
        wheels.publish(messages.odometry(x, stamp))
        robot.spin(0.05)
        camera.publish(messages.raw(picture(next(numbers)), stamp))
        robot.spin(0.05)
        return keyframes[-1].has_pose

    robot.wait(lambda: see(0.0), "a pose")
    for _ in range(8):
        see(0.0)
    for step in range(1, 11):  # drives 3 m
        see(0.3 * step)
        if step % 2 == 0:
            robot.wait(lambda s=step: keyframes[-1].pose.position.x > 0.3 * s - 0.1, "a keyframe")
    posed = [k for k in keyframes if k.has_pose]
    assert [round(k.pose.position.x, 1) for k in posed] == [0.0, 0.6, 1.2, 1.8, 2.4, 3.0]
    assert {k.pose_frame for k in posed} == {"odom"}


def test_the_newest_frame_wins_and_drops_are_counted(robot, picture):
    robot.start("encoder", gate__interval_s=0.0, gate__change=0.0)
    keyframes = robot.listen(Keyframe, "keyframes")
    publisher = robot.publisher(Image, "image", 100)
    stamps = []
    for number in range(60):
        stamps.append(robot.stamp())
        publisher.publish(messages.raw(picture(number), stamps[-1]))
    robot.wait(lambda: keyframes and keyframes[-1].header.stamp == stamps[-1], "the newest frame")
    assert len(keyframes) < len(stamps)
    robot.wait(
        lambda: int(robot.status["encoder"]["dropped_images"]) >= 1, "the drops to be reported"
    )


def test_a_clock_that_jumps_back_starts_a_new_session(robot, picture):
    from vpr_msgs.msg import Query

    robot.start("encoder")
    robot.start("database", loop__score_threshold=0.5)
    queries = robot.listen(Query, "queries")
    robot.wait_for_database()
    publisher = robot.publisher(Image, "image")
    start = robot.stamp()
    for turn in range(2):  # the same bag, played twice
        for number in range(15):
            stamp = type(start)(sec=start.sec + 2 * number, nanosec=start.nanosec)
            publisher.publish(messages.raw(picture(number), stamp))
            robot.wait(lambda n=15 * turn + number: len(queries) > n, "an answer")
    second = queries[15:]
    assert [q.candidates[0].stamp for q in second] == [q.header.stamp for q in second]
    assert second[0].reason == Query.ACCEPTED, second[0].message


def test_simulated_time_paused_and_rewound(robot, picture):
    from builtin_interfaces.msg import Time
    from rosgraph_msgs.msg import Clock

    robot.start("encoder", use_sim_time="true", gate__interval_s=0.0)
    keyframes = robot.listen(Keyframe, "keyframes")
    camera = robot.publisher(Image, "image")
    camera.publish(messages.raw(picture(0), Time(sec=99)))
    robot.told("use_sim_time is set but nothing publishes /clock")
    robot.wait(lambda: keyframes, "a keyframe all the same")
    assert robot.status["encoder"]["latency_p50_ms"] == "nan"
    keyframes.clear()
    clock = robot.publisher(Clock, "/clock")
    for second in (100, 101, 102, 50, 51):  # rewound after the third
        now = Time(sec=second)
        clock.publish(Clock(clock=now))
        robot.spin(0.1)
        camera.publish(messages.raw(picture(second), now))
        robot.wait(
            lambda s=second: keyframes and keyframes[-1].header.stamp.sec == s, "a keyframe"
        )
    assert len(keyframes) == 5
    del robot.status["encoder"]  # the clock stands still, the node reports all the same
    robot.wait(lambda: "encoder" in robot.status, "diagnostics in paused time")
    assert abs(float(robot.status["encoder"]["latency_p50_ms"])) < 1000


def test_what_is_amiss_with_the_inputs_is_said_until_it_is_mended(robot, picture):
    """One process, one fault after the other; the status is OK again in between."""
    robot.start("encoder")
    keyframes = robot.listen(Keyframe, "keyframes")
    numbers = itertools.count()

    def until(words, level, publish):
        def done():
            publish()
            status = robot.status["encoder"]
            return words in status["message"] and status["level"] == level

        robot.wait(done, words, 30)

    robot.told("neither /vpr/image nor")
    stray = robot.node.create_publisher(Odometry, "battery_state", 10)
    robot.told("/vpr/battery_state carries nav_msgs/msg/Odometry")
    robot.node.destroy_publisher(stray)

    # the compressed topic given as the raw one
    wrong = robot.node.create_publisher(CompressedImage, "image", 10)
    until("Give the launch argument image without /compressed", WARN, lambda: None)
    said = robot.told("without /compressed")
    assert len(said) == 1 and "/vpr/image carries sensor_msgs/msg/CompressedImage" in said[0]
    robot.node.destroy_publisher(wrong)

    camera = robot.publisher(Image, "image")
    wheels = robot.publisher(Odometry, "odom")
    lens = robot.publisher(CameraInfo, "camera_info")
    info = CameraInfo(width=1280, height=720, distortion_model="plumb_bob")
    info.k = [1000.0, 0, 639.5, 0, 1000.0, 359.5, 0, 0, 1]
    info.d = [-0.2, 0.05, 0.0, 0.0, 0.0]

    def drive(off_s=0.0, valid=True):
        now, number = robot.stamp(), next(numbers)
        message = messages.odometry(0.1 * number, now)
        message.pose.pose.orientation.w = float(valid)
        nanoseconds = now.sec * 10**9 + now.nanosec + round(off_s * 1e9)
        sec, nanosec = divmod(nanoseconds, 10**9)
        message.header.stamp = type(now)(sec=sec, nanosec=nanosec)
        wheels.publish(message)
        lens.publish(info)
        image = messages.raw(picture(number), now)
        image.is_bigendian = 1  # means nothing for bytes
        camera.publish(image)
        robot.spin(0.05)

    until("Odometry is not used: its poses are not valid", WARN, lambda: drive(valid=False))
    until("at most 0.2 s are tolerated", WARN, lambda: drive(off_s=-2))
    assert not any(k.has_pose for k in keyframes)
    until("camera_info is for images of 1280x720, the images have 320x240", WARN, drive)
    robot.wait(lambda: (drive(), keyframes[-1].has_pose)[1], "a pose")
    assert not np.any(keyframes[-1].features.camera_matrix)
    info.height, info.k[5] = 960, 479.5  # four times the image, and its aspect ratio
    until("encoding /vpr/image", OK, drive)
    matrix = keyframes[-1].features.camera_matrix
    assert matrix[0] == pytest.approx(250) and matrix[2] == pytest.approx(159.5)

    until("Odometry has stamps", WARN, lambda: drive(off_s=0.6))
    until("encoding /vpr/image", OK, drive)

    # every image refused, and the same once more as a request
    tail = messages.compressed(picture(0), robot.stamp()).data.tobytes()
    size = tail.find(b"\xff\xc0") + 5
    bomb = tail[:size] + b"\x7d\x00\x7d\x00" + tail[size + 4 :]  # 32000x32000
    answer = robot.call(
        EncodeImage, "encode_image", compressed_image=CompressedImage(format="jpeg", data=bomb)
    )
    assert not answer.success and "more than 32 million pixels" in answer.message
    strip = messages.raw(picture(0), robot.stamp())
    strip.height, strip.width, strip.step = 1, 240 * 320, 240 * 320 * 3

    def refused():
        strip.header.stamp = robot.stamp()
        camera.publish(strip)
        robot.spin(0.05)

    until("Image of 76800x1 is a strip", WARN, refused)
    assert robot.status["encoder"]["unforeseen"] == "0"
    until("encoding /vpr/image", OK, drive)


def test_a_hundred_requests_at_once_are_all_answered(robot, picture):
    robot.start("encoder")
    robot.start("database")
    keyframes = robot.listen(Keyframe, "keyframes")
    robot.wait_for_database()
    robot.publisher(Image, "image").publish(messages.raw(picture(0), robot.stamp()))
    robot.wait(lambda: keyframes, "a keyframe")
    client = robot.node.create_client(FindPlace, "find_place", qos_profile=QoSProfile(depth=200))
    robot.wait(client.service_is_ready, "the service")
    image = messages.compressed(picture(0), robot.stamp())
    asked = [client.call_async(FindPlace.Request(compressed_image=image)) for _ in range(100)]
    robot.wait(lambda: all(answer.done() for answer in asked), "a hundred answers", 30)
    answers = [answer.result() for answer in asked]
    found = [answer for answer in answers if answer.success]
    assert len(found) >= 8 and all(answer.candidates for answer in found)
    assert all("ask again later" in a.message for a in answers if not a.success)
    assert robot.call(FindPlace, "find_place", compressed_image=image).success
