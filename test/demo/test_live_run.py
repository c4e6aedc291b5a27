# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading back what the nodes published during a drive, from bags written here."""

import json
import math

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer

from demo.building import building
from demo.drive import DrivePose
from demo.live_figures import write_picture
from demo.live_report import headline, live_metrics, live_rows, write_report
from demo.live_run import read_live_run
from demo.mapped_run import MAP, WAKE_UP, read_mapped_run
from demo.robot_messages import EPOCH_S, battery, header, image, odometry
from demo.topics import (
    BATTERY,
    CLOSURES,
    DIAGNOSTICS,
    IMAGE,
    INJECTED,
    KEYFRAMES,
    LOCALIZATION,
    ODOM,
    PUBLISHED,
    QUERIES,
    SENT,
    connections,
)
from vpr_msgs.msg import (
    Calibration,
    Candidate,
    Keyframe,
    LocalFeatures,
    Localization,
    LoopClosure,
    Query,
)
from vpr_ros.core.errors import VprError
from vpr_ros.core.loop_detector import Reason
from vpr_ros.evaluation.bag import Bag
from vpr_ros.evaluation.evaluated_drive import Outcome
from vpr_ros.mapping.graph_file import graph_path

S = 10**9
ASKED = 6  # of vpr_msgs/Query
BEGIN, OFFSET = EPOCH_S * S, 500 * S  # the drive's first stamp; what the player added
# Twelve keyframes 10 m apart, then the first place and the second again.
DRIVE = [(float(second), 10.0 * second) for second in range(12)] + [(30.0, 0.5), (31.0, 10.5)]


def stamped(second, frame="camera"):
    """The header of a message so many seconds into the drive."""
    return header(OFFSET / S + second, frame)


class Recorded:
    """A bag of the nodes' messages; stamps in seconds into the drive."""

    def __init__(self, writer):
        self.writer = writer
        self.topics = connections(writer, PUBLISHED)

    def write(self, topic, second, message):
        when = BEGIN + OFFSET + round(second * S)
        self.writer.write(self.topics[topic], when, serialize_message(message))

    def keyframe(self, number, second, sparsity):
        message = Keyframe(
            header=stamped(second), id=100 + number, model="m", sparsity=sparsity,
            descriptor=np.eye(16, dtype=np.float32)[number % 12],
            calibration=Calibration(score_threshold=0.5),
            features=LocalFeatures(pixel_size=1.0, extracted=True),
        )  # fmt: skip
        self.write(KEYFRAMES, second + 0.02, message)

    def query(self, number, second, reason, best=None, score=0.0, query_id=None):
        found = []
        if best is not None:
            found = [Candidate(id=100 + best, stamp=stamped(best).stamp, score=score)]
        message = Query(
            header=stamped(second), query_id=100 + number if query_id is None else query_id,
            reason=reason, message="because", candidates=found, keyframes=number,
        )  # fmt: skip
        self.write(QUERIES, second + 0.05, message)

    def closure(self, number, second, match, frame="camera"):
        message = LoopClosure(
            header=stamped(second, frame), query_id=100 + number, match_id=100 + match,
            match_stamp=stamped(match).stamp, score=0.9, margin=0.1, confidence=math.nan,
            verification=1, inliers=42,
        )  # fmt: skip
        self.write(CLOSURES, second + 0.04, message)

    def located(self, second, x):
        message = Localization(
            header=stamped(second), state=2, quality=0.9, agreeing=2, match_id=100, message="there"
        )
        message.pose.pose.position.x = x
        self.write(LOCALIZATION, second + 0.5, message)

    def diagnostics(self, second, node, **values):
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        status = DiagnosticStatus(name=f"vpr/{node}: vpr", values=pairs)
        self.write(DIAGNOSTICS, second, DiagnosticArray(header=stamped(second), status=[status]))


def write_drive(folder):
    """The bag that was played: images, exact odometry and one report of the battery."""
    charge = battery(np.arange(10.0), np.ones(10), seed=1)[8]  # at 4 s
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = connections(writer, {t: SENT[t] for t in (ODOM, IMAGE, BATTERY)})
        for second, x in DRIVE:
            pose = DrivePose(second, x, 0.0, 0.0, 1.0, 0.0, 1)
            picture = np.full((48, 64, 3), int(x) % 255, np.uint8)
            messages = {ODOM: odometry(pose), IMAGE: image(second, picture)}
            if second == 4.0:
                messages[BATTERY] = charge
            for topic, message in messages.items():
                when = BEGIN + round(second * S) + (topic == IMAGE)
                writer.write(topics[topic], when, serialize_message(message))


@pytest.fixture
def folder(tmp_path):
    write_drive(tmp_path / "drive")
    play = {"offset_ns": OFFSET, "begin_ns": BEGIN, "duration_s": 31.0, "lag_p95_ms": 1.0}
    (tmp_path / "play.json").write_text(json.dumps(play))
    closures = tmp_path / "closures"
    with Writer(closures, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        bag = Recorded(writer)
        common = {"cpu_s": "2.5", "problems": "0", "dropped_images": "3"}
        bag.diagnostics(0.5, "encoder", model="m", memory_mb="240", **common)
        bag.diagnostics(0.5, "database", bytes_per_keyframe="3000", memory_mb="120", problems="0")
        times = {"correction_p50_ms": "20", "correction_p95_ms": "31"}
        bag.diagnostics(0.5, "graph", memory_mb="150", problems="0", **times)
        for number, (second, _) in enumerate(DRIVE):
            bag.keyframe(number, second, 0.4 if number > 5 else 0.1)
        for number, (second, _) in enumerate(DRIVE[:12]):
            bag.query(number, second, Reason.NO_OLDER_PLACES)
        bag.closure(12, 30.0, match=0)
        bag.closure(13, 31.0, match=5, frame=INJECTED)
        bag.query(12, 30.0, Reason.ACCEPTED, best=0, score=0.5)
        bag.query(13, 31.0, Reason.GEOMETRY, best=1, score=0.25)
        bag.query(13, 31.0, ASKED, query_id=0)  # answers a person's FindPlace
        bag.diagnostics(32.0, "encoder", model="m", memory_mb="230", **common)
    write_graph(tmp_path)
    again = tmp_path / WAKE_UP
    again.mkdir()
    write_drive(again / "drive")
    (again / "play.json").write_text(json.dumps(play))
    with Writer(again / "closures", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        Recorded(writer).located(3.0, x=30.0 - 7.0)  # the map begins at x = 7, which is its 0
    return tmp_path


def write_graph(folder):
    """A graph whose odometry is half as long as the way, while the corrected one is right."""
    lines = ["vpr_ros pose graph 1"]
    for number, (second, x) in enumerate(DRIVE):
        stamp = BEGIN + OFFSET + round(second * S)
        poses = f"{x / 2} 0 0 0 0 0 1 {x - 7.0} 0 0 0 0 0 1"
        lines.append(f"keyframe {100 + number} {stamp} 0 {poses}")
    lines += ["closure 112 100 1 0 0 0 1", "closure 113 105 0 0 0 0 1"]
    graph_path(folder / MAP).write_text("\n".join(lines) + "\n")


@pytest.fixture
def live(folder):
    with Bag(folder / "drive") as drive:
        return read_live_run(folder, drive, building())


@pytest.fixture
def mapped(folder):
    with Bag(folder / "drive") as drive:
        return read_mapped_run(folder, drive)


def test_the_corrected_route_and_the_wake_up_are_held_against_the_truth(mapped):
    m = mapped.metrics()
    assert m["corrected_ate_m"] == pytest.approx(0, abs=1e-6)
    assert m["odometry_ate_m"] == pytest.approx(np.std([x / 2 for _, x in DRIVE]))
    assert (mapped.held, mapped.refused) == ([(12, 0)], [(13, 5)])
    assert (m["injected"], m["injected_refused"]) == (1, 1)
    assert (m["located_s"], m["located_off_m"]) == (pytest.approx(3.5), pytest.approx(0, abs=1e-6))
    assert mapped.place.x == 30.0


def test_answers_are_on_the_clock_of_the_drive(live):
    answers = live.drive.answers
    assert len(answers) == len(DRIVE)
    seconds = [live.seconds(i) for i in range(len(DRIVE))]
    assert seconds == pytest.approx([second for second, _ in DRIVE])
    assert answers[0].reason is Reason.NO_OLDER_PLACES and answers[0].best is None
    assert math.isnan(answers[0].score)
    assert (answers[12].best, answers[12].match, answers[12].inliers) == (0, 0, 42)
    assert (answers[13].best, answers[13].match, answers[13].score) == (1, None, 0.25)
    assert live.latency_ms == pytest.approx(np.full(len(DRIVE), 50.0))


def test_they_are_judged_by_the_exact_odometry(live):
    judged = live.drive
    assert [v.outcome for v in judged.verdicts[:12]] == [Outcome.NEW] * 12
    assert judged.verdicts[12].outcome is Outcome.RIGHT
    assert judged.verdicts[13].outcome is Outcome.MISSED
    assert (judged.precision, judged.recall, judged.revisits) == (1.0, 0.5, 2)


def test_what_only_the_live_nodes_know(live):
    assert live.sparsity_changes() == [(0.0, pytest.approx(0.1)), (6.0, pytest.approx(0.4))]
    assert live.battery == pytest.approx(np.array([[4.0, 0.6]]))
    assert [told["memory_mb"] for told in live.diagnostics["encoder"]] == ["240", "230"]


def test_numbers_and_page(folder, live, mapped):
    metrics = live_metrics(live, mapped, "make demo")
    assert (metrics["latency_p50_ms"], metrics["dropped_images"]) == (pytest.approx(50.0), 3)
    assert (metrics["update_p50_ms"], metrics["update_p95_ms"]) == (20.0, 31.0)
    assert metrics["memory_mb"] == {"encoder": 240.0, "database": 120.0, "graph": 150.0}
    rows = dict(live_rows(metrics))
    assert rows["Sparsity"] == "0.1 → 0.4 at 6 s"
    assert rows["Recall"].startswith("50.0 %") and "Encode, per keyframe" not in rows
    assert headline(metrics).startswith("1 loop closures in 31 s: precision 100.0 %")
    with Bag(folder / "drive") as drive:
        write_report(folder, live, mapped, drive, metrics)
        write_picture(folder / "picture.png", live, drive, headline(metrics))
    page = (folder / "report.html").read_text()
    assert "Timeline" in page and page.count("<svg") >= 7
    assert (
        rows["Wrong ones injected"] == "1, 1 refused" and rows["Woke up on the saved map"] in page
    )
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert cv2.imread(str(folder / "picture.png")).shape == (900, 1600, 3)


def test_a_drive_that_did_not_end_is_an_error(folder):
    (folder / "play.json").unlink()
    with Bag(folder / "drive") as drive, pytest.raises(VprError, match="did not end"):
        read_live_run(folder, drive, building())


def test_bags_that_do_not_belong_together_are_an_error(folder):
    play = {"offset_ns": OFFSET + 1, "begin_ns": BEGIN, "duration_s": 31.0}
    (folder / "play.json").write_text(json.dumps(play))
    with Bag(folder / "drive") as drive, pytest.raises(VprError, match="do not belong together"):
        read_live_run(folder, drive, building())
