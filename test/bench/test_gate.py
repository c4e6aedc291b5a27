# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From when on a view is another: more than a still camera's noise, less than half a metre."""

from pathlib import Path

import numpy as np
import pytest

from bench.gate import Distances, shot, still
from vpr_ros.core.encoder import Encoder
from vpr_ros.evaluation.datasets.image_set import read_image

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
DATA = ROOT.parent / "shared" / "data" / "rtabmap_samples"


@pytest.mark.parametrize(
    ("still_distance", "moved", "change"), [(0.013, 0.056, 0.03), (0.04, 0.5, 0.1)]
)
def test_change_lies_between_in_one_digit(still_distance, moved, change):
    assert Distances(still_distance, moved).change == change


def test_two_shots_differ_a_little():
    image = np.full((60, 80, 3), 120, np.uint8)
    one, other = (shot(image, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == image.shape and one.dtype == np.uint8
    assert 0 < np.abs(one.astype(int) - other).mean() < 10


@pytest.mark.parametrize("name", [path.stem for path in sorted(MODELS.glob("*.onnx"))])
def test_a_still_camera_shows_one_view(name):
    if not DATA.is_dir():
        pytest.skip(f"needs the images in {DATA}")
    encoder = Encoder(MODELS / f"{name}.onnx")
    images = [read_image(DATA / f"{number}.jpg") for number in (1, 30, 60)]
    assert 0.0 < still(encoder, images) < encoder.contract.change
