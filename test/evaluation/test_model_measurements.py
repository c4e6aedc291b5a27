# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a model file tells of itself follows from what was measured."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from tools import shared_sets
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ImageError, ModelError, VprError
from vpr_ros.core.model_files import find_model
from vpr_ros.evaluation import model_measurements
from vpr_ros.evaluation.console import Progress
from vpr_ros.evaluation.image_set import DatasetOptions, ImageSet
from vpr_ros.evaluation.layouts import open_dataset
from vpr_ros.evaluation.measured_images import (
    LEAST,
    MeasuredImages,
    OrderedImages,
    open_measured_images,
)
from vpr_ros.evaluation.model_measurements import (
    THRESHOLD_STEP,
    Level,
    _fastest,
    battery_levels,
    change_between,
    lowest_right,
    measure_model,
    shot,
    unlabelled,
)
from vpr_ros.evaluation.search import search

FOUND = [
    Level(0.0, 1.0, 80.0, 80.0),
    Level(0.2, 0.9, 79.5, 78.0),  # in its own map it costs too much
    Level(0.4, 0.7, 78.9, 90.0),
    Level(0.5, 0.75, 79.9, 90.0),  # slower than 0.4, but finds more
    Level(0.6, 0.6, 77.0, 78.0),
    Level(0.7, 0.5, 79.9, 76.0),  # the fastest, but not good enough to map with
]


@pytest.fixture
def opened(tmp_path):
    """opened(*paths): the images that a model is measured on."""
    folder = tmp_path / "views"
    folder.mkdir()

    def give(*paths):
        return open_measured_images(paths, DatasetOptions(), folder, Progress())

    return give


@pytest.fixture
def drive_folder(tmp_path):
    """drive_folder(count): pictures of a camera that slides along a wall, and their folder."""
    wall = np.random.default_rng(0).integers(0, 255, (6, 200, 3)).astype(np.uint8)
    wall = cv2.resize(wall, None, fx=20, fy=20, interpolation=cv2.INTER_NEAREST)

    def make(count, name="drive"):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(count):
            picture = wall[:, 40 * number : 40 * number + 160]
            cv2.imwrite(str(folder / f"{number:04d}.png"), picture)
        return folder

    return make


@pytest.mark.parametrize(
    ("cost", "sparsity"), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.5), (1.2, 0.4), (3.0, 0.6)]
)
def test_a_level_is_the_fastest_that_costs_no_more(cost, sparsity):
    assert _fastest(FOUND, cost).sparsity == sparsity


def test_the_level_of_a_low_battery_is_no_lower_than_that_of_a_medium_one():
    assert battery_levels(FOUND) == (0.5, 0.6)
    falling = [
        Level(0.0, 1.0, 80.0, 80.0),
        Level(0.2, 0.8, 77.5, 77.5),
        Level(0.4, 0.9, 79.9, 80.0),
    ]
    assert battery_levels(falling) == (0.4, 0.4)


def judged(scores, hits):
    """Queries whose best match has a score and is right or not."""
    paths = tuple(Path(f"{n}.jpg") for n in range(len(scores)))
    right = tuple(np.array([0] if hit else [], np.int64) for hit in hits)
    image_set = ImageSet("made", (Path("place.jpg"),), paths, right, "")
    return image_set.judge(search(np.array([[s] for s in scores]), np.ones((1, 1))))


def test_only_right_best_matches_set_the_threshold_and_one_in_a_hundred_may_miss_it():
    assert lowest_right(judged([0.8, 0.5, 0.9], [1, 0, 1])) == pytest.approx(0.8)
    many = [0.1] + [0.7] * 50 + [0.9] * 149
    assert lowest_right(judged(many, [1] * 200)) == pytest.approx(0.7)
    assert np.isnan(lowest_right(judged([0.8], [0])))


@pytest.mark.parametrize(("still", "moved", "change"), [(0.013, 0.056, 0.03), (0.04, 0.5, 0.1)])
def test_change_lies_between_in_one_digit(still, moved, change):
    assert change_between(still, moved) == change


def test_two_shots_differ_a_little():
    image = np.full((60, 80, 3), 120, np.uint8)
    one, other = (shot(image, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == image.shape and one.dtype == np.uint8
    assert 0 < np.abs(one.astype(int) - other).mean() < 10


def test_every_other_view_of_a_drive_asks_for_its_neighbours():
    paths = tuple(Path(f"{n:03d}.png") for n in range(LEAST + 1))
    made = OrderedImages("drive", paths).image_set()
    assert made.queries[:2] == (paths[1], paths[3])
    assert [made.database[k] for k in made.positives[1]] == [paths[2], paths[4]]
    assert all(len(right) == 2 for right in made.positives)
    even = OrderedImages("drive", paths[:-1]).image_set()
    assert len(even.positives[-1]) == 1  # nothing comes after the last


def test_a_drive_that_passes_a_place_twice_is_not_counted_against_the_model():
    """Views 0 to 9 and the same again: the best match of a query is in the other lap."""
    paths = tuple(Path(f"{n:03d}.png") for n in range(20))
    laps = np.repeat(np.eye(10, dtype=np.float32)[None], 2, axis=0).reshape(20, 10)
    near = OrderedImages("laps", tuple(paths))
    made = near.image_set()
    shifted = {p: laps[(n + n // 10) % 10] for n, p in enumerate(paths)}

    def describe(asked, sparsity):
        return np.stack([shifted[p] for p in asked])

    widened = unlabelled(made, describe)
    ranked = search(describe(made.queries, 0.0), describe(made.database, 0.0))
    assert made.judge(ranked).recall_at(1) < 0.5
    assert widened.judge(ranked).recall_at(1) == 1.0
    assert all(set(own) <= set(more) for own, more in
               zip(made.positives, widened.positives, strict=True))  # fmt: skip


def test_a_folder_in_order_measures_a_model_without_labels(opened, drive_folder, monkeypatch):
    monkeypatch.setattr(model_measurements, "network_ms", lambda *_: [7, 6, 5, 4, 3, 2, 1])
    images = opened(drive_folder(24))
    encoder = Encoder(find_model("mobilenetv2-gem"))
    described = []
    found = measure_model(encoder, images, lambda: described.append(1))
    assert [point.sparsity for point in found.calibration] == [0.0, 0.2, 0.4, 0.6, 0.75]
    scores = [point.score_threshold for point in found.calibration]
    assert scores == sorted(scores, reverse=True) and 0.5 < scores[0] < 1.0
    assert len(found.levels) == 2 and 0.001 < found.change < 0.3
    table = found.tables[1]
    assert table.rows[0][2:] == ("100.0", "100.0")  # what is found at 0 is right
    # Every image once at each of eight sparsities, and the drive as a whole.
    assert len(described) == 9 * 24
    # The threshold is the step below what the worst neighbour reaches.
    first = images.answered[0]
    places, queries = (
        np.stack([encoder.encode(cv2.imread(str(p))) for p in paths])
        for paths in (first.database, first.queries)
    )
    lowest = lowest_right(first.judge(search(queries, places)))
    assert scores[0] <= lowest < scores[0] + THRESHOLD_STEP


def test_thresholds_come_from_answers_and_the_change_from_a_drive(
    opened, drive_folder, shared_data, tmp_path
):
    labelled = shared_sets.rtabmap_samples(shared_data, tmp_path / "sets")
    images = opened(drive_folder(20), labelled)
    assert [one.name for one in images.answered] == ["rtabmap_samples"]
    assert len(images.drives) == 1 and len(images.pairs()) == 16
    encoder = quick_encoder()
    found = measure_model(encoder, images, lambda: None)
    assert len(found.calibration) == 1 and found.levels == () and found.change > 0
    alone = measure_model(encoder, opened_again(labelled), lambda: None)
    assert alone.change == 0.0 and "give --images a drive" in alone.remarks[0]


def quick_encoder():
    """An encoder without a dial that gives thumbnails."""
    encoder = Encoder(find_model("mobilenetv2-gem"))
    encoder.contract = dataclasses.replace(encoder.contract, sparsity_max=0.0, levels=())
    encoder.encode = lambda image, sparsity: _thumbnail(image)
    return encoder


def opened_again(path):
    return MeasuredImages((open_dataset(path),), ())


def _thumbnail(image):
    small = cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(np.linalg.norm(small), 1e-9)


def test_a_bag_gives_its_views_and_skips_those_that_show_nothing(
    opened, tmp_path, picture, bag_writer
):
    path = tmp_path / "bag"
    with bag_writer(path, "mcap") as bag:
        for step in range(60):
            bag.odometry(0.2 * step, 0.3 * step, 0.0)
            black = step in (10, 12)
            bag.image(0.2 * step + 0.001, 0 * picture(0) if black else picture(step))
    images = opened(path)
    (drive,) = images.drives
    assert len(drive.paths) == 30  # every second: half a metre
    assert all(cv2.imread(str(p)).any() for p in drive.paths)


def test_without_odometry_a_view_a_second(opened, tmp_path, picture, bag_writer):
    path = tmp_path / "bag"
    with bag_writer(path, "mcap") as bag:
        for step in range(100):
            bag.image(0.25 * step, picture(step))
    assert len(opened(path).drives[0].paths) == 25


@pytest.mark.parametrize(("change", "error"), [("few", VprError), ("broken", ImageError)])
def test_too_few_or_unreadable_images_are_named(opened, drive_folder, change, error):
    folder = drive_folder(5 if change == "few" else 30)
    if change == "broken":
        (folder / "0007.png").write_bytes(b"no picture")
    with pytest.raises(error, match="shows 5 views; at least 20" if change == "few" else "0007"):
        measure_model(quick_encoder(), opened(folder), lambda: None)


def test_a_robot_that_stands_still_is_no_drive(opened, drive_folder):
    folder = drive_folder(30)
    for path in folder.iterdir():
        path.write_bytes((folder / "0000.png").read_bytes())
    with pytest.raises(ModelError, match="the robot stands still, or the network does not look"):
        measure_model(quick_encoder(), opened(folder), lambda: None)


def test_a_path_that_is_neither_bag_nor_images(opened, tmp_path):
    (tmp_path / "notes.txt").touch()
    for path in (tmp_path / "nowhere", tmp_path / "notes.txt"):
        with pytest.raises(VprError, match=path.name):
            opened(path)
