# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A view that shows no place is named; one that shows anything is not."""

import cv2
import numpy as np
import pytest

from vpr_ros.core.errors import ConfigError
from vpr_ros.core.keyframe import LocalFeatures
from vpr_ros.core.pose import Pose
from vpr_ros.core.view import Mask, ViewCheck, ViewConfig, ViewFault, read_mask, view_of

S = 1_000_000_000
RNG = np.random.default_rng(0)


def scene(seed=0, height=240, width=320):
    """Boxes of all sizes, another picture for every seed."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(60, 200, 3), np.uint8)
    for _ in range(60):
        a, b = rng.integers(0, (width, height), (2, 2)).tolist()
        cv2.rectangle(image, a, b, rng.integers(0, 255, 3).tolist(), -1)
    return image


def wall(seed):
    """A blurred wall: broad light and shade, no edge."""
    rng = np.random.default_rng(seed)
    grid = rng.integers(90, 150, (2, 3, 3)).astype(np.uint8)
    return cv2.resize(grid, (320, 240), interpolation=cv2.INTER_LINEAR)


def plain(grey, noise=0.0):
    picture = grey + RNG.normal(0, noise, (240, 320, 3)) if noise else np.full((240, 320, 3), grey)
    return picture.clip(0, 255).astype(np.uint8)


def fault(image, mask=""):
    return ViewCheck().fault(view_of(image, S, None, read_mask(mask)))


def vignette(centre, edge, noise):
    y, x = np.mgrid[-1:1:240j, -1:1:320j]
    grey = edge + (centre - edge) * np.exp(-(x * x + y * y))
    return (grey[:, :, np.newaxis] + RNG.normal(0, noise, (240, 320, 3))).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (plain(0), ViewFault.BLACK),
        (plain(4, noise=4.0), ViewFault.BLACK),
        (plain(255), ViewFault.OVEREXPOSED),
        (np.maximum(scene(), 252), ViewFault.OVEREXPOSED),
        (plain(180), ViewFault.COVERED),
        (plain(90, noise=12.0), ViewFault.COVERED),
        (vignette(120, 105, noise=3.0), ViewFault.COVERED),
        (scene(), None),
        (scene() // 4, None),
        (np.minimum(scene(), 127) * 2, None),
        (cv2.GaussianBlur(scene(), (0, 0), 4), None),
        (scene(height=120, width=160), None),
        (scene(height=1080, width=1920), None),
    ],
    ids=[
        "black", "black with noise", "white", "white with traces", "grey", "grey with noise",
        "vignette", "scene", "dark", "bright", "blurred", "160x120", "full HD",
    ],
)  # fmt: skip
def test_what_one_picture_tells(image, expected):
    assert fault(image) is expected


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (500, 2), (16, 16)])
def test_no_picture_is_too_small(size):
    assert fault(np.full((*size, 3), 90, np.uint8)) is ViewFault.COVERED


def test_a_hot_pixel_does_not_light_a_black_picture():
    image = plain(2)
    image[100, 100] = 255
    assert fault(image) is ViewFault.BLACK


class Drive:
    """Pictures one after the other, each kept if it shows a place."""

    def __init__(self, odometry=True, **config):
        self.check = ViewCheck(**config)
        self.odometry = odometry
        self.time_ns = S
        self.x = 0.0

    def see(self, image, way=0.6, seconds=1.0):
        self.x += way
        self.time_ns += round(seconds * S)
        pose = Pose.planar(self.x, 0, 0) if self.odometry else None
        view = view_of(image, self.time_ns, pose, None)
        found = self.check.fault(view)
        if found is None:
            self.check.keep(view)
        return found


def test_a_frozen_picture_contradicts_odometry():
    drive = Drive()
    assert [drive.see(scene(i)) for i in range(5)] == [None] * 5
    assert {drive.see(scene(4)) for _ in range(20)} == {ViewFault.FROZEN}
    assert drive.see(scene(5)) is None


def with_clock(image, i):
    """A time written into the picture, as surveillance cameras do."""
    image = image.copy()
    text = f"12:00:{i % 60:02}"
    cv2.putText(image, text, (5, 15), cv2.FONT_HERSHEY_PLAIN, 1.0, (255, 255, 255), 1)
    return image


def test_a_frozen_picture_with_a_running_clock_in_it():
    drive = Drive()
    seen = [drive.see(with_clock(scene(0), i)) for i in range(10)]
    assert seen == [None] + [ViewFault.FROZEN] * 9


def test_a_driver_that_goes_round_in_its_buffers():
    drive = Drive()
    seen = [drive.see(scene(i % 4)) for i in range(20)]
    assert seen == [None] * 4 + [ViewFault.FROZEN] * 16


def test_a_frozen_picture_compressed_anew_each_time():
    drive, image = Drive(), scene(0)
    seen = []
    for i in range(10):
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80 + i])[1]
        seen.append(drive.see(cv2.imdecode(data, cv2.IMREAD_COLOR)))
    assert None not in seen[3:]


def test_standing_and_coming_back_is_no_fault():
    drive = Drive()
    assert drive.see(scene(0)) is None
    assert drive.see(scene(0), way=0.0) is None  # a simulator has no noise
    assert drive.see(scene(1), way=0.6) is None
    assert drive.see(scene(0), way=-0.6) is None


def test_without_odometry_a_picture_that_repeats_to_the_bit_for_seconds_is_frozen():
    drive = Drive(odometry=False)
    seen = [drive.see(scene(0), seconds=0.5) for _ in range(10)]
    assert seen == [None] * 6 + [ViewFault.FROZEN] * 4
    assert drive.see(scene(1)) is None
    noisy = [
        drive.see((scene(2) * 0.9 + RNG.normal(0, 2, (240, 320, 3))).clip(0, 255).astype(np.uint8))
        for _ in range(10)
    ]
    assert noisy == [None] * 10  # a robot that stands


def test_a_recording_played_again_is_not_frozen():
    drive = Drive(odometry=False)
    for _ in range(2):
        drive.time_ns = 100 * S
        assert [drive.see(scene(7)), drive.see(scene(8))] == [None, None]


def with_strip(image, seed=99):
    image = image.copy()
    image[180:] = scene(seed)[180:]
    return image


@pytest.mark.parametrize("odometry", [True, False])
def test_only_the_robots_body(odometry):
    """Unlike walls without an edge over one strip of the robot: nothing tells them apart."""
    drive = Drive(odometry)
    seen = [drive.see(with_strip(wall(i))) for i in range(20)]
    assert seen == [None] * 3 + [ViewFault.OWN_BODY] * 17
    assert drive.see(with_strip(scene(3))) is None


def test_a_body_in_a_real_scene_is_no_fault():
    drive = Drive()
    assert {drive.see(with_strip(scene(i))) for i in range(20)} == {None}


def test_another_camera_has_other_pictures():
    drive = Drive()
    for i in range(4):
        assert drive.see(scene(i)) is None
    assert drive.see(scene(9, height=480, width=640)) is None
    assert drive.see(scene(10, height=90, width=320)) is None


def test_the_check_can_be_switched_off():
    drive = Drive(enabled=False)
    assert {drive.see(plain(0)) for _ in range(5)} == {None}


# Mask


def test_under_a_mask_only_the_rest_counts():
    image = with_strip(plain(180))
    assert fault(image) is None
    assert fault(image, "0.3") is ViewFault.COVERED
    assert fault(with_strip(scene(1)), "0.3") is None


def test_a_mask_is_a_share_or_a_file(tmp_path):
    assert read_mask("") is None
    visible = read_mask("0.25").visible(8, 3)
    assert visible[:6].all() and not visible[6:].any()
    pixels = np.full((24, 32), 255, np.uint8)
    pixels[12:, 16:] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), pixels)
    visible = read_mask(str(tmp_path / "mask.png")).visible(48, 64)
    assert visible.sum() == 48 * 64 * 3 / 4 and not visible[24:, 32:].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "share of the height"),
        ("1.5", "share of the height"),
        ("-0.2", "share of the height"),
        ("nan", "share of the height"),
        ("nowhere.png", "no image file"),
        ("~nobody-here/mask.png", "no image file"),
        ("black.png", "leaves 0% of the picture"),
        ("text.png", "no image file"),
    ],
)
def test_a_bad_mask_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("black.png", np.zeros((24, 32), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ConfigError, match=f"'view.mask' is .*{message}"):
        ViewConfig(mask=text)


def test_the_network_gets_what_is_not_masked():
    image = scene()
    assert np.array_equal(read_mask("0.25").cropped(image), image[:180])
    visible = np.ones((240, 320), np.bool_)
    visible[200:, 250:] = False  # a corner
    cropped = Mask(visible).cropped(image)
    assert cropped.shape == image.shape
    assert np.array_equal(cropped[:200], image[:200])
    assert (cropped[200:, 250:] == cropped[239, 319]).all()


def test_features_of_the_robot_and_at_its_edge_go():
    y = np.arange(0, 240, 10)
    features = LocalFeatures(
        np.stack([np.full(len(y), 100), y], axis=1).astype(np.float32),
        np.zeros((len(y), 32), np.uint8),
        pixel_size=1.0,
    )
    kept = read_mask("0.25").without_body(features, 240, 320)
    assert kept.keypoints[:, 1].tolist() == list(range(0, 170, 10))
    assert len(kept.descriptors) == len(kept.keypoints)


# Real images

BLANK = {  # walls that fill the picture, at a quarter of their brightness
    "home_streetview": 6
}


@pytest.mark.parametrize(
    "folder",
    ["rtabmap_samples", "campus_robot", "corridor", "vpr_toy", "home_streetview", "ie_tower"],
)
def test_no_real_view_is_refused(shared_data, folder):
    paths = sorted(p for p in (shared_data / folder).rglob("*") if p.suffix in (".jpg", ".png"))
    paths = paths[:: max(1, len(paths) // 150)]
    changes = {
        "as taken": lambda image: image,
        "dark": lambda image: image // 4,
        "bright": lambda image: np.minimum(image.astype(np.uint16) * 3 // 2, 255).astype(np.uint8),
        "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), image.shape[1] / 80),
    }
    refused = {name: [] for name in changes}
    for path in paths:
        image = cv2.imread(str(path))
        for name, change in changes.items():
            if (found := fault(change(image))) is not None:
                refused[name].append((path.name, found))
    assert len(paths) > 20 and not refused["as taken"] and not refused["blurred"], refused
    # White walls of a bright photograph are white, of a dark one flat.
    assert len(refused["dark"]) + len(refused["bright"]) <= 0.05 * len(paths), refused


def test_no_real_drive_is_frozen(shared_data):
    for folder, way in (("rtabmap_samples", 0.5), ("campus_robot", 3.0)):
        drive = Drive()
        paths = [p for p in (shared_data / folder).rglob("*") if p.suffix in (".jpg", ".png")]
        paths.sort(key=lambda p: (len(p.name), p.name))
        found = [drive.see(cv2.imread(str(path)), way) for path in paths]
        assert len(found) > 50 and set(found) == {None}
