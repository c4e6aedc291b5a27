# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`vpr evaluate BAG`, from the command to the files it leaves."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError, VprError
from vpr_ros.core.keyframe import Keyframe, Place, Thumbnail
from vpr_ros.core.loop_detector import LoopClosure, Query, Reason
from vpr_ros.core.pose import Pose
from vpr_ros.evaluation.bag import BagError
from vpr_ros.evaluation.bag_evaluation import run_evaluate
from vpr_ros.evaluation.params import Settings, read_params, settings_from
from vpr_ros.evaluation.replay import Recording, Request
from vpr_ros.evaluation.truth import LoopRule

ROOT = Path(__file__).resolve().parents[2]
ORDER = ("Route", "Pairs", "Timeline", "All numbers", "Against the baselines")  # of the page
START_S = 1_780_000_000


def run(tmp_path, bag, **fields):
    """(the run, the folder of its results)."""
    done = run_evaluate(Request(bag, **fields), tmp_path / "results")
    return done, (tmp_path / "results" / "latest").resolve()


def test_two_laps_are_closed_and_all_files_are_there(tmp_path, lap_bag, capsys):
    """12 places, twice: the second lap is found, its first view waits for the temporal gate."""
    _, folder = run(tmp_path, lap_bag())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["keyframes"], metrics["images"], metrics["revisits"]) == (24, 24, 12)
    assert metrics["precision"] == 1.0
    assert metrics["recall"] >= 10 / 12
    assert metrics["recall_at_1"] == metrics["recall_at_10"] == 1.0
    assert sum(metrics["reasons"].values()) == 24
    assert 0 < metrics["encode_p50_ms"] <= metrics["encode_p95_ms"]
    assert read_params(folder / "config.yaml") == Settings()
    rows = list(csv.DictReader((folder / "keyframes.csv").open()))
    assert [row["outcome"] for row in rows].count("RIGHT") == metrics["right_closures"]
    assert rows[15]["nearest_true"] == "3"
    printed = capsys.readouterr().out
    for part in ("Precision", "Average precision", "R@1, R@5, R@10", "p95", "kB", "Rejected"):
        assert part in printed
    assert "Ground truth: topic /odom" in printed


def test_the_report_stands_alone(tmp_path, lap_bag):
    _, folder = run(tmp_path, lap_bag())
    page = (folder / "report.html").read_text()
    assert "$" not in re.sub(r"<code>.*?</code>", "", page)  # every placeholder was filled
    outside = re.findall(r"(?:src|href)=['\"](?!data:|#)([^'\"]*)", page)
    assert not outside
    assert page.count("<svg") == 5 + 3  # three are drawn again for phones
    headline = json.loads((folder / "metrics.json").read_text())["headline"]
    order = [f"<h1>{headline}</h1>", *(f"<h2>{h}</h2>" for h in ORDER)]
    assert [page.index(part) for part in order] == sorted(page.index(part) for part in order)
    assert page.count("data:image/jpeg") >= 4
    assert "Best right closures" in page


def test_pairs_without_poses(tmp_path, lap_bag):
    file = tmp_path / "pairs.csv"
    rows = [f"{k},{k - 12}\n" for k in range(12, 24)]
    file.write_text("query,match\n" + "".join(rows))
    done, folder = run(tmp_path, lap_bag(odometry=False), truth=str(file), rule=LoopRule(frames=0))
    assert (len(done.drive.answers), done.drive.revisits) == (24, 12)
    assert done.drive.precision == 1.0
    assert "within 0 images" in (folder / "report.html").read_text()


def test_without_truth_the_loops_are_shown(tmp_path, lap_bag, capsys):
    _, folder = run(tmp_path, lap_bag(odometry=False))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["closures"] == metrics["reasons"]["ACCEPTED"] >= 10
    assert metrics["precision"] is metrics["recall"] is metrics["recall_at_1"] is None
    printed, page = capsys.readouterr().out, (folder / "report.html").read_text()
    for text in (printed, page):
        assert f"{metrics['closures']} loop closures found; without ground truth" in text
        assert "For precision and recall give --truth" in text
        assert "Precision</th>" not in text and "baselines" not in text
    assert "Closures that were not judged" in page
    assert page.count("data:image/jpeg") >= 4
    rows = list(csv.DictReader((folder / "keyframes.csv").open()))
    assert {row["outcome"] for row in rows} == {"UNKNOWN"}
    assert sum(row["match"] != "" for row in rows) == metrics["closures"]


def test_one_image(tmp_path, bag_writer, picture):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        bag.odometry(0, 0, 0)
        bag.image(0.01, picture(0))
    done, folder = run(tmp_path, tmp_path / "b")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["keyframes"], metrics["revisits"]) == (1, 0)
    assert metrics["precision"] is metrics["recall"] is metrics["average_precision"] is None
    assert done.drive.curve.threshold.size == 0
    page = (folder / "report.html").read_text()
    assert "This drive never returns to a place" in page and "not defined" not in page


def test_bad_images_are_counted_and_told(tmp_path, bag_writer, picture):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        for k in range(4):
            bag.odometry(k, 2 * k, 0)
            bag.image(k + 0.01, picture(k)[: 0 if k == 2 else None])
    done, folder = run(tmp_path, tmp_path / "b")
    metrics = done.metrics
    assert (metrics["images"], metrics["bad_images"], metrics["keyframes"]) == (4, 1, 3)
    assert "Image is empty" in (folder / "report.html").read_text()
    with bag_writer(tmp_path / "c", "mcap") as bag:
        bag.odometry(0, 0, 0)
        bag.image(0.01, picture(0)[:0])
    with pytest.raises(BagError, match=r"No image .* can be used: Image is empty"):
        run(tmp_path, tmp_path / "c")


def test_views_that_show_no_place_are_left_out_as_on_the_robot(tmp_path, bag_writer, picture):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        for k in range(10):
            bag.odometry(k, 2 * k, 0)
            bag.image(k + 0.01, np.full_like(picture(0), 180) if k >= 5 else picture(min(k, 3)))
    _, folder = run(tmp_path, tmp_path / "b")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["images"], metrics["bad_images"], metrics["keyframes"]) == (10, 6, 4)
    assert "the picture stays the same" in metrics["first_bad_image"]
    assert "the picture stays the same" in (folder / "report.html").read_text()
    with bag_writer(tmp_path / "c", "mcap") as bag:
        for k in range(10):
            bag.odometry(k, 2 * k, 0)
            bag.image(k / 10 + 0.01, np.zeros_like(picture(0)))
    with pytest.raises(BagError, match=r"No image .* can be used: the picture is black"):
        run(tmp_path, tmp_path / "c")


def test_errors_leave_nothing(tmp_path, lap_bag, bag_writer):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        bag.odometry(0, 0, 0)
    cases = [
        Request(tmp_path / "b"),
        Request(tmp_path / "none.mcap"),
        Request(lap_bag(), image="/odom"),
        Request(lap_bag("db3"), settings=settings_from(None, "no-such-model")),
        Request(lap_bag("bag"), settings=settings_from(None, sparsity=0.95)),
    ]
    for request in cases:
        with pytest.raises(VprError) as error:
            run_evaluate(request, tmp_path / "results")
        assert "\n" not in str(error.value)
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_leaves_nothing(tmp_path, bag_writer, picture, number):
    with bag_writer(tmp_path / "b", "mcap") as bag:
        for k in range(200):
            bag.odometry(k, 2 * k, 0)
            bag.image(k + 0.01, picture(k % 10))
    results = tmp_path / "results"
    command = [
        sys.executable,
        "-m",
        "vpr_ros.cli",
        "evaluate",
        tmp_path / "b",
        "--output",
        results,
    ]
    # A shell's background jobs ignore SIGINT, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while not (results.is_dir() and os.listdir(results)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"Traceback" not in errors
    assert os.listdir(results) == []


def test_the_command_line(tmp_path, lap_bag):
    command = [sys.executable, "-m", "vpr_ros.cli", "evaluate", lap_bag(), "--metres", "0.05"]
    done = subprocess.run(
        [*command, "--output", tmp_path / "results"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "results" / "latest" / "metrics.json").read_text())
    assert metrics["revisits"] == 0  # the laps lie 0.1 m apart
    assert metrics["command"].startswith("vpr evaluate")
    assert metrics["command"].endswith(str(tmp_path / "results"))


def test_office_corridor_with_its_pairs(tmp_path, shared_data, bag_writer):
    """Real frames, no odometry: the default model finds what was checked by hand."""
    folder = shared_data / "rtabmap_samples"
    file = tmp_path / "pairs.csv"
    lines = ["query,match"]
    for row in csv.DictReader((folder / "revisits.csv").open()):
        query, match = int(row["query"]) - 1, row["match"] and int(row["match"]) - 1
        copies = [match] if match == "" else [match, match - 40, match + 40]
        lines += [f"{query},{copy}" for copy in copies if copy == "" or 0 <= copy < query - 10]
    file.write_text("\n".join(lines) + "\n")
    with bag_writer(tmp_path / "b", "mcap") as bag:
        for k in range(84):
            bag.image(2.0 * k, cv2.imread(str(folder / f"{k + 1}.jpg")))
    done, _ = run(tmp_path, tmp_path / "b", truth=str(file))
    assert len(done.drive.answers) > 75  # the gate drops views that did not change
    assert done.drive.revisits > 30
    assert done.drive.precision > 0.9
    assert done.drive.searched.recall_at(1) > 0.9


def test_campus_with_its_poses(tmp_path, shared_data, bag_writer):
    """Real frames 3 m apart with a TUM file: a route that is driven once closes no loop."""
    folder = shared_data / "campus_robot"
    rows = [line.split(",") for line in (folder / "data.csv").read_text().split()]
    with bag_writer(tmp_path / "b", "db3") as bag:
        for k, row in enumerate(rows):
            bag.compressed(2.0 * k, cv2.imread(str(folder / row[0])))
    half = np.array([float(row[3]) for row in rows]) / 2
    lines = [
        f"{START_S + 2 * k} {row[1]} {row[2]} 0 0 0 {np.sin(h)} {np.cos(h)}"
        for k, (row, h) in enumerate(zip(rows, half, strict=True))
    ]
    (tmp_path / "tum.txt").write_text("\n".join(lines))
    done, folder = run(
        tmp_path, tmp_path / "b", truth=str(tmp_path / "tum.txt"), rule=LoopRule(metres=10.0)
    )
    assert (done.metrics["images"], done.metrics["bad_images"]) == (72, 0)
    assert done.drive.truth.known.all()
    assert "from above" in (folder / "report.html").read_text()


def test_a_recording_holds_every_answer(monkeypatch, tmp_path):
    """With a stand-in for rerun, which not everybody has."""
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match="Run: pip install rerun-sdk"):
        Recording(tmp_path / "a.rrd")
    rerun = MagicMock()
    monkeypatch.setitem(sys.modules, "rerun", rerun)
    recording = Recording(tmp_path / "a.rrd")
    file = rerun.RecordingStream.return_value
    file.save.assert_called_once_with(tmp_path / "a.rrd")
    row, picture = np.array([1, 0], np.float32), Thumbnail(b"x", 9)
    first = Keyframe(0, 1, "m", 0.0, row, pose=Pose.planar(1, 2, 0), thumbnail=picture)
    second = Keyframe(1, 2, "m", 0.0, row, pose=Pose.planar(1, 3, 0))
    old, new = (Place.of(k, k.id, 0) for k in (first, second))
    recording.add(first, Query(old, (), Reason.NO_OLDER_PLACES, "new", math.nan))
    logged = [call.args[0] for call in file.log.call_args_list]
    assert logged == ["camera", "answer", "map/keyframes/0"]
    closure = LoopClosure(old, 0.9, 0.1, 0.99, None)
    recording.add(second, Query(new, (), Reason.ACCEPTED, "loop", 0.1, closure))
    logged = {call.args[0] for call in file.log.call_args_list}
    assert {"closure", "confidence", "map/closures/1"} < logged
    assert rerun.LineStrips3D.call_args.args[0] == [[(1, 3, 0), (1, 2, 0)]]
