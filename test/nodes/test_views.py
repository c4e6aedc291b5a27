# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A view that shows no place becomes no keyframe, and the user is told why."""

import cv2
import messages
import numpy as np
import pytest
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image

from vpr_msgs.msg import Keyframe, LoopClosure, Query
from vpr_ros.nodes.conversions import to_time

WARN, OK = b"\x01", b"\x00"
S = 1_000_000_000
START_NS = 1_700_000_000 * S


class Drive:
    """A robot that moves 0.6 m and 1.2 s from picture to picture."""

    def __init__(self, robot, odometry=True, **parameters):
        self.robot = robot
        robot.start("encoder", gate__change=0.0, **parameters)
        self.keyframes = robot.listen(Keyframe, "keyframes")
        self.camera = robot.publisher(Image, "image")
        self.wheels = robot.publisher(Odometry, "odom") if odometry else None
        self.steps = 0

    def see(self, image, place=True):
        """Show a picture and wait for its keyframe; without a place, as long as one may take."""
        now = START_NS + self.steps * 12 * S // 10
        if self.wheels:
            for part in (0, 1, 2):
                x = 0.6 * (self.steps + part / 2)
                self.wheels.publish(messages.odometry(x, to_time(now + part * S // 10)))
                self.robot.spin(0.03)
            now += S // 10
        self.camera.publish(messages.raw(image, to_time(now)))
        known = len(self.keyframes)
        self.steps += 1
        if place:
            self.robot.wait(lambda: len(self.keyframes) > known, "a keyframe")
        else:
            self.robot.spin(0.3)

    @property
    def made(self):
        """Ids of the keyframes: in one run of many, under load, some were heard twice."""
        return {keyframe.id for keyframe in self.keyframes}

    def report(self):
        """The encoder's next diagnostics."""
        self.robot.status.pop("encoder", None)
        self.robot.wait(lambda: "encoder" in self.robot.status, "a report")
        self.robot.status.pop("encoder")
        self.robot.wait(lambda: "encoder" in self.robot.status, "a report")
        return self.robot.status["encoder"]

    @staticmethod
    def refused(status, kind):
        """How many pictures were; on a slow machine one may be replaced before that."""
        return int(status[f"refused_{kind}"]) + int(status["dropped_images"])


def body(image, seed=99):
    """The same textured strip in the bottom quarter of every picture."""
    random = np.random.default_rng(seed)
    image = image.copy()
    image[180:] = cv2.resize(random.integers(0, 255, (15, 80, 3)).astype(np.uint8), (320, 60))
    return image


def wall(seed):
    """A blurred wall."""
    grid = np.random.default_rng(seed).integers(90, 150, (2, 3, 3)).astype(np.uint8)
    return cv2.resize(grid, (320, 240), interpolation=cv2.INTER_LINEAR)


FAULTS = {
    "black": lambda i: np.full((240, 320, 3), 3, np.uint8),
    "overexposed": lambda i: np.full((240, 320, 3), 255, np.uint8),
    "covered": lambda i: np.full((240, 320, 3), 180, np.uint8),
    "own_body": lambda i: body(wall(i)),
}


@pytest.mark.parametrize("odometry", [True, False], ids=["odometry", "blind"])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_view_without_a_place_is_named_while_it_lasts(robot, picture, kind, odometry):
    drive = Drive(robot, odometry)
    for number in range(3):
        drive.see(picture(number))
    assert len(drive.made) == 3
    learned = 3 if kind == "own_body" else 0
    for number in range(8):
        drive.see(FAULTS[kind](number), place=number < learned)
    status = drive.report()
    assert len(drive.made) == 3 + learned
    assert status["level"] == WARN and status["view"] == kind
    assert drive.refused(status, kind) == 8 - learned
    for number in range(3, 6):
        drive.see(picture(number))
    status = drive.report()
    assert len(drive.made) == 6 + learned
    assert status["level"] == OK and status["view"] == "ok"
    assert drive.refused(status, kind) == 8 - learned, "what has been stays counted"
    assert len(robot.told("No keyframes are made")) == 1
    assert len(robot.told("surroundings again")) == 1


def test_a_camera_that_alternates_its_exposure_does_not_flood_the_log(robot, picture):
    drive = Drive(robot)
    for number in range(12):
        drive.see(picture(number))
        drive.see(FAULTS["black"](number), place=False)
    assert len(drive.made) == 12
    robot.told("surroundings again")
    for words in ("No keyframes are made", "surroundings again"):
        assert len(robot.told(words)) <= 3  # every five seconds, on a slow machine


def test_a_frozen_camera_is_named_while_odometry_goes_on(robot, picture):
    drive = Drive(robot)
    for number in range(30):
        drive.see(picture(min(number, 9)), place=number < 10)
    status = drive.report()
    assert len(drive.made) == 10
    assert status["level"] == WARN and "stays the same" in status["message"]
    assert drive.refused(status, "frozen") == 20
    drive.see(picture(50))
    assert drive.report()["level"] == OK and len(drive.made) == 11


def test_a_frozen_camera_is_named_without_odometry(robot, picture):
    drive = Drive(robot, odometry=False)
    for number in range(12):
        drive.see(picture(min(number, 2)), place=number < 3)
    status = drive.report()
    assert status["level"] == WARN and status["view"] == "frozen"
    assert 3 <= len(drive.made) <= 6


def test_standing_in_front_of_a_covered_lens_ends_when_it_is_uncovered(robot, picture):
    """With odometry a standing robot encodes nothing, yet its health is that of now."""
    drive = Drive(robot)
    drive.see(picture(0))
    for _ in range(3):
        drive.see(np.full((240, 320, 3), 180, np.uint8), place=False)
    assert drive.report()["view"] == "covered"
    x = 0.6 * (drive.steps - 1)
    for i in range(1, 12):
        stamp = to_time(START_NS + drive.steps * 12 * S // 10 + i * S // 5)
        drive.wheels.publish(messages.odometry(x, stamp))
        robot.spin(0.05)
        drive.camera.publish(messages.raw(picture(1), stamp))
        robot.spin(0.05)
    assert drive.report()["view"] == "ok"


def test_grey_keyframes_close_no_loop(robot, picture):
    """Thirty pictures, the first and the last five plain grey: five closures, once."""
    robot.start("database", loop__score_threshold=0.5)
    closures = robot.listen(LoopClosure, "loop_closures")
    drive = Drive(robot, view__check=True)
    robot.wait_for_database()
    for number in range(30):
        grey = number < 5 or number >= 25
        image = np.full((240, 320, 3), 180, np.uint8) if grey else picture(number)
        drive.see(image, place=not grey)
    assert len(drive.made) == 20 and not closures


@pytest.mark.parametrize(
    ("extracted", "verified", "reason"),
    [(True, 5, Query.GEOMETRY), (False, 5, Query.GEOMETRY), (False, 0, Query.ACCEPTED)],
)
def test_only_the_receiver_does_without_geometry(robot, extracted, verified, reason):
    """Whatever another's encoder sends, or leaves out."""
    robot.start(
        "database",
        loop__score_threshold=0.5,
        loop__verified_candidates=verified,
        database__exclude_recent_s=0.0,
    )
    queries = robot.listen(Query, "queries")
    publisher = robot.publisher(Keyframe, "keyframes", 100)
    for i in range(30):
        message = messages.keyframe(i % 15, robot.stamp(), id=1000 + i)
        message.features.extracted = extracted
        message.features.pixel_size = 1.0
        publisher.publish(message)
        robot.wait(lambda n=i: len(queries) > n, "an answer")
    assert {q.reason for q in queries[15:]} == {reason}


def test_features_that_do_not_add_up_are_refused(robot):
    robot.start("database")
    publisher = robot.publisher(Keyframe, "keyframes", 100)
    message = messages.keyframe(1, robot.stamp())
    message.features.extracted, message.features.keypoints = True, [1.0, 2.0, 3.0, 4.0]
    message.features.descriptors = bytes(32)
    publisher.publish(message)
    robot.wait(
        lambda: "2 keypoints but 32 bytes" in robot.status["database"]["last_problem"], "a refusal"
    )
    assert robot.status["database"]["keyframes"] == "0"


@pytest.mark.parametrize("form", ["share", "file"])
def test_a_mask_hides_the_robot_from_network_and_features(robot, picture, tmp_path, form):
    mask = "0.27"
    if form == "file":
        pixels = np.full((120, 160), 255, np.uint8)
        pixels[88:] = 0
        mask = str(tmp_path / "mask.png")
        cv2.imwrite(mask, pixels)
    drive = Drive(robot, odometry=False)
    refused = robot.set("encoder", "view.mask", "nowhere.png")
    assert not refused.successful and "no image file" in refused.reason
    drive.see(body(picture(1)))
    assert robot.set("encoder", "view.mask", mask).successful
    drive.see(body(picture(2)))
    drive.see(body(picture(2), seed=5))  # the same place, another arm
    drive.see(body(np.full((240, 320, 3), 180, np.uint8)), place=False)
    bare, first, second = drive.keyframes
    assert np.dot(first.descriptor, second.descriptor) > 0.999
    assert max(bare.features.keypoints[1::2]) > 180 > max(first.features.keypoints[1::2])
    assert drive.report()["view"] == "covered"
