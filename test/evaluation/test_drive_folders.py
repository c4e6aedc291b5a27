# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders laid out as TUM, KITTI and EuRoC publish them, read like bags."""

import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ImageError
from vpr_ros.evaluation.bag import BagError, bag_images, cameras, choose_topics, pictures
from vpr_ros.evaluation.drive_folders import layout_of, open_drive
from vpr_ros.evaluation.truth import LoopRule
from vpr_ros.evaluation.truth_source import find_truth

ROOT = Path(__file__).resolve().parents[2]
STEPS, PLACES = 24, 12  # two laps of 12 places 2 m apart, one every 2 s
START_S = 1_403_636_579


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def show(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def tum(root, picture):
    """Stamps with six decimals, depth beside colour, poses at other times than the images."""
    names = [f"{START_S + 2 * k}.{k:06d}" for k in range(STEPS)]
    for k, name in enumerate(names):
        show(root / "rgb" / f"{name}.png", picture(k % PLACES))
    lines = [f"{name} rgb/{name}.png\n" for name in names]
    write(
        root / "rgb.txt",
        "# color images\n# file: 'x.bag'\n# timestamp filename\n" + "".join(lines),
    )
    write(root / "depth.txt", "# depth maps\n")
    poses = [f"{START_S + k / 10:.4f} {position(k / 20):.4f} 0 0 0 0 0 1\n" for k in range(480)]
    write(root / "groundtruth.txt", "# timestamp tx ty tz qx qy qz qw\n" + "".join(poses))
    return root


def position(step):
    """Metres; at whole steps exact."""
    return 2.0 * (step % PLACES)


def kitti(root, picture):
    """dataset/sequences/00 with two cameras, dataset/poses/00.txt; the camera looks along z."""
    drive = root / "sequences" / "00"
    for k in range(STEPS):
        show(drive / "image_2" / f"{k:06d}.png", picture(k % PLACES))
        show(drive / "image_0" / f"{k:06d}.png", cv2.cvtColor(picture(k), cv2.COLOR_BGR2GRAY))
    write(drive / "times.txt", "".join(f"{2.0 * k:e}\n" for k in range(STEPS)))
    rows = [f"1 0 0 0 0 1 0 0 0 0 1 {position(k):e}\n" for k in range(STEPS)]
    write(root / "poses" / "00.txt", "".join(rows))
    return drive


def euroc(root, picture):
    """mav0 with grey cameras and the estimated state: nanoseconds, w of the quaternion first."""
    stamps = [START_S * 10**9 + 2 * k * 10**9 + 819_999_744 for k in range(STEPS)]
    for camera in ("cam0", "cam1"):
        for k, stamp in enumerate(stamps):
            image = cv2.cvtColor(picture(k % PLACES), cv2.COLOR_BGR2GRAY)
            show(root / "mav0" / camera / "data" / f"{stamp}.png", image)
        lines = [f"{stamp},{stamp}.png\n" for stamp in stamps]
        write(root / "mav0" / camera / "data.csv", "#timestamp [ns],filename\n" + "".join(lines))
    half = math.sqrt(0.5)
    states = [f"{s},{position(k)},0,0,{half},0,0,{half}" + 9 * ",0" + "\n"
              for k, s in enumerate(stamps)]  # fmt: skip
    head = "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], ...\n"
    write(root / "mav0" / "state_groundtruth_estimate0" / "data.csv", head + "".join(states))
    return root


MAKERS = {"TUM RGB-D": tum, "KITTI odometry": kitti, "EuRoC": euroc}


@pytest.mark.parametrize("name", MAKERS)
def test_images_and_poses_come_as_from_a_bag(tmp_path, picture, name):
    path = MAKERS[name](tmp_path / "d", picture)
    assert layout_of(path).name == name
    with open_drive(path) as drive:
        topics = choose_topics(drive)
        images = list(bag_images(drive, topics))
        again = pictures(drive, topics.image, {images[5].recorded_ns})
        source = find_truth(drive, "", LoopRule())
        found = cameras(drive)
    assert [one.number for one in images] == list(range(STEPS))
    stamps = np.array([one.frame.stamp_ns for one in images])
    assert stamps.min() > 0 and np.diff(stamps).tolist() == pytest.approx([2e9] * 23, abs=2000)
    expected = picture(5) if name != "EuRoC" else cv2.cvtColor(picture(5), cv2.COLOR_BGR2GRAY)
    assert (images[5].frame.decode().reshape(240, 320, -1)[..., :1] ==
            expected.reshape(240, 320, -1)[..., :1]).all()  # fmt: skip
    assert (again[images[5].recorded_ns] == images[5].frame.decode()).all()
    truth = source.of(stamps, np.arange(STEPS))
    assert source.text == "topic /ground_truth"
    assert all(PLACES + k in truth.places[k] for k in range(PLACES))
    assert 0 not in truth.places[6]
    if name == "KITTI odometry":
        assert found == ["/image_2", "/image_0"]  # colour first
    if name == "EuRoC":
        assert topics.image == "/cam0"
        assert truth.trajectory.pose(0).yaw == pytest.approx(math.pi / 2)
        with open_drive(path / "mav0") as inner:
            assert inner.counts == drive.counts


def test_without_poses_there_is_no_truth(tmp_path, picture):
    """As KITTI's sequences 11 to 21 are published."""
    path = kitti(tmp_path / "d", picture)
    (tmp_path / "d" / "poses" / "00.txt").unlink()
    with open_drive(path) as drive:
        assert "no odometry, pose or tf" in find_truth(drive, "", LoopRule()).missing


@pytest.mark.parametrize(
    ("name", "files"),
    {"TUM RGB-D": "rgb", "KITTI odometry": "image_2", "EuRoC": "mav0/cam0/data"}.items(),
)
def test_a_missing_image_keeps_its_place_and_number(tmp_path, picture, name, files):
    path = MAKERS[name](tmp_path / "d", picture)
    images = sorted((path / files).iterdir())
    images[3].unlink()
    next(iter(sorted((path / files).parent.parent.glob("cam1/data/*"))), images[3]).unlink(True)
    with open_drive(path) as drive:
        topics = choose_topics(drive)
        assert topics.image == f"/{files.split('/')[-2 if name == 'EuRoC' else -1]}"
        assert drive.counts[topics.image] == STEPS - 1
        found = list(bag_images(drive, topics))
    assert [one.number for one in found] == list(range(STEPS))
    assert (found[4].frame.decode() == cv2.imread(str(images[4]))).all()
    with pytest.raises(ImageError, match=rf"{images[3]} cannot be read \(No such file"):
        found[3].frame.decode()
    for image in path.rglob("*.png"):
        image.unlink()
    with pytest.raises(BagError, match="has none of the images that it lists, such as"):
        open_drive(path).__enter__()


def test_what_is_broken_is_one_line(tmp_path, picture):
    path = tum(tmp_path / "tum", picture)
    whole = (path / "groundtruth.txt").read_text()
    write(path / "groundtruth.txt", "\ufeff" + whole)
    open_drive(path).__enter__()
    write(path / "groundtruth.txt", whole.rstrip()[:-6])  # a copy that was cut short
    with pytest.raises(BagError, match=r"TUM RGB-D, but .* \(the pose of \d+ ns lacks values\)"):
        open_drive(path).__enter__()
    write(path / "rgb.txt", "1.0\n")
    with pytest.raises(BagError, match=r"looks like a drive of TUM RGB-D, but cannot be read"):
        open_drive(path).__enter__()
    drive = kitti(tmp_path / "kitti", picture)
    write(drive / "times.txt", "0\n")
    with pytest.raises(BagError, match="looks like a drive of KITTI"):
        open_drive(drive).__enter__()
    (tmp_path / "other").mkdir()
    with pytest.raises(BagError, match="is not a bag"):
        open_drive(tmp_path / "other")


def test_the_command_takes_such_a_folder(tmp_path, picture):
    """And `vpr benchmark` says which command does."""
    path = euroc(tmp_path / "MH_01", picture)
    for camera in ("cam1", "cam0"):
        images = sorted((path / "mav0" / camera / "data").iterdir())
        images[22].unlink()
        images[23].write_bytes(b"damaged")
    command = [sys.executable, "-m", "vpr_ros.cli"]
    done = subprocess.run(
        [*command, "evaluate", path, "--no-baselines", "--output", tmp_path / "results"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "results" / "latest" / "metrics.json").read_text())
    assert (metrics["revisits"], metrics["wrong_closures"]) == (10, 0)
    assert (metrics["images"], metrics["keyframes"], metrics["bad_images"]) == (24, 22, 2)
    assert metrics["first_bad_image"].startswith(f"Image {images[22]} cannot be read")
    assert "Images skipped" in done.stdout
    assert metrics["right_closures"] >= 8
    assert f"{metrics['right_closures']} of 10 revisits found, none wrong." in done.stdout
    assert "others, for --image: /cam1" in done.stdout
    refused = subprocess.run(
        [*command, "benchmark", path], cwd=ROOT, capture_output=True, text=True
    )
    assert f"is a drive, not a data set. Run: vpr evaluate {path}" in refused.stderr
