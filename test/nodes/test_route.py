# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The main job on real frames: a bag of an office corridor walked twice closes its loops."""

import csv
import dataclasses

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image

from vpr_msgs.msg import LoopClosure, Query

LAP = 40  # frames
RIGHT = 2  # frames
START_S = 1_000_000


@dataclasses.dataclass
class Answers:
    """What the nodes said about the frames, by frame number."""

    best: dict  # query: best candidate
    closures: dict  # query: match
    pictures: dict  # query: sensor_msgs/Image


def write_bag(folder, images):
    """A rosbag2 with one JPEG a second."""
    store = get_typestore(Stores.ROS2_JAZZY)
    kind = store.types["sensor_msgs/msg/CompressedImage"]
    header, time = store.types["std_msgs/msg/Header"], store.types["builtin_interfaces/msg/Time"]
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection("/camera/compressed", kind.__msgtype__, typestore=store)
        for number, path in images:
            stamp = time(sec=START_S + number, nanosec=0)
            data = np.frombuffer(path.read_bytes(), np.uint8)
            message = kind(header=header(stamp=stamp, frame_id="camera"), format="jpeg", data=data)
            raw = store.serialize_cdr(message, kind.__msgtype__)
            writer.write(topic, (START_S + number) * 10**9, raw)


@pytest.fixture(scope="module")
def answers(shared_data, tmp_path_factory):
    """Play the bag through both nodes at their defaults, faster than it was recorded."""
    from robot import Robot

    folder = shared_data / "rtabmap_samples"
    bag = tmp_path_factory.mktemp("route") / "bag"
    write_bag(bag, [(n, folder / f"{n}.jpg") for n in range(1, 85)])
    robot = Robot()
    try:
        for name in ("encoder", "database"):
            robot.start(name)
        queries = robot.listen(Query, "queries")
        closures = robot.listen(LoopClosure, "loop_closures")
        pictures = robot.listen(Image, "closure_image")
        camera = robot.publisher(CompressedImage, "image/compressed")
        robot.wait_for_database()
        with AnyReader([bag]) as reader:
            for number, (_, _, raw) in enumerate(reader.messages(), start=1):
                message = reader.deserialize(raw, "sensor_msgs/msg/CompressedImage")
                stamp = robot.stamp()
                stamp.sec, stamp.nanosec = message.header.stamp.sec, message.header.stamp.nanosec
                frame = CompressedImage(format=message.format, data=message.data.tobytes())
                frame.header.stamp, frame.header.frame_id = stamp, message.header.frame_id
                camera.publish(frame)
                robot.wait(lambda n=number: len(queries) >= n, f"the answer to frame {number}")
        robot.spin(0.1)
        robot.wait(lambda: len(pictures) == len(closures), "the pictures")
    finally:
        codes = robot.stop()
    assert set(codes.values()) == {0}
    frame = {q.query_id: q.header.stamp.sec - START_S for q in queries}
    return Answers(
        best={frame[q.query_id]: frame[q.candidates[0].id] for q in queries if q.candidates},
        closures={frame[c.query_id]: frame[c.match_id] for c in closures},
        pictures={p.header.stamp.sec - START_S: p for p in pictures},
    )


@pytest.fixture(scope="module")
def revisits(shared_data):
    """The frame of an earlier lap for each query whose revisit was verified by hand."""
    with (shared_data / "rtabmap_samples" / "revisits.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {int(row["query"]): int(row["match"]) for row in rows if row["match"]}


def is_right(match, truth):
    """Within two frames of the true one or of its copy on another lap."""
    return min(abs(match - truth - shift) for shift in (-LAP, 0, LAP)) <= RIGHT


def expected(query, revisits):
    """The true match; for the few queries without one, what their neighbours imply."""
    if query in revisits:
        return revisits[query]
    before, after = revisits.get(query - 1), revisits.get(query + 1)
    if before is None or after is None:
        return None
    return (before + after + (LAP if after < before else 0)) // 2  # a lap ends between the two


def test_every_revisit_is_retrieved_at_rank_1(answers, revisits):
    wrong = {
        q: answers.best.get(q) for q, m in revisits.items() if not is_right(answers.best[q], m)
    }
    assert len(revisits) == 40 and not wrong


def test_no_published_closure_is_wrong(answers, revisits):
    truth = {query: expected(query, revisits) for query in answers.closures}
    wrong = {
        query: match
        for query, match in answers.closures.items()
        if truth[query] is None or not is_right(match, truth[query])
    }
    assert answers.closures and not wrong


def test_at_least_half_of_the_revisits_are_published(answers, revisits):
    assert len(set(answers.closures) & set(revisits)) >= len(revisits) / 2


def test_every_closure_is_shown(answers, shared_data):
    assert set(answers.pictures) == set(answers.closures)
    for query, message in answers.pictures.items():
        picture = np.array(message.data).reshape(message.height, message.width, 3)
        views = picture[-240:, :320], picture[-240:, -320:]
        for frame, view in zip((query, answers.closures[query]), views, strict=True):
            seen = cv2.imread(str(shared_data / "rtabmap_samples" / f"{frame}.jpg"))
            small = cv2.resize(seen, (320, 240), interpolation=cv2.INTER_AREA)
            assert np.median(np.abs(small.astype(int) - view)) < 8
