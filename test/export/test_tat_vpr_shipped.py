# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The trained TAT-VPR as shipped: what it says of itself, and what its card promises."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.shared_sets import rtabmap_samples
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.image_files import read_image
from vpr_ros.evaluation.layouts import open_dataset

ROOT = Path(__file__).resolve().parents[2]
LEAST = 0.975  # R@1 on the revisits: 40 of them, one may be missed
DATA = ROOT.parent / "shared" / "data" / "rtabmap_samples"
SPARSITIES = (0.0, 0.4, 0.6)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(ROOT / "models" / "tat-vpr-s.onnx")


@pytest.fixture(scope="module")
def corridor(encoder, tmp_path_factory):
    """Revisits of an office corridor, and descriptors of all its images by sparsity."""
    if not DATA.is_dir():
        pytest.skip(f"needs the images in {DATA}")
    revisits = open_dataset(rtabmap_samples(DATA.parent, tmp_path_factory.mktemp("sets")))
    images = [read_image(path) for path in revisits.database]
    return revisits, {
        s: np.stack([encoder.encode(image, s) for image in images]) for s in SPARSITIES
    }


def recall_at_1(revisits, queries, database):
    number = {path: i for i, path in enumerate(revisits.database)}
    scores = queries[[number[path] for path in revisits.queries]] @ database.T
    later = np.arange(len(database)) >= revisits.searchable[:, None]
    best = np.where(later, -1.0, scores).argmax(axis=1)
    return np.mean([b in p for b, p in zip(best, revisits.positives, strict=True)])


def test_the_file_says_what_it_is(encoder):
    contract = encoder.contract
    found = contract.dial, contract.tile, contract.sparsity_max
    assert found == ("activations", "nested", 0.6)
    assert "not the released DINOv2" in contract.training_data
    assert [point.sparsity for point in contract.calibration] == [0.0, 0.2, 0.4, 0.6]
    assert all(0.0 < point.score_threshold < 1.0 for point in contract.calibration)
    medium, low = contract.levels
    assert 0.0 < medium < low <= contract.sparsity_max  # the battery's two limits both show
    assert encoder.path.stat().st_size < 7.5e6


def test_the_card_says_first_whose_weights_these_are_not(encoder):
    title, first, *_ = encoder.path.with_suffix(".md").read_text().split("\n\n")
    assert title == f"# {encoder.contract.name}"
    assert "does not contain the released DINOv2 weights" in " ".join(first.split())


def test_revisits_are_found_at_every_sparsity(corridor):
    revisits, described = corridor
    for sparsity, found in described.items():
        assert recall_at_1(revisits, found, found) >= LEAST, sparsity


def test_one_map_serves_every_sparsity(corridor):
    revisits, described = corridor
    assert recall_at_1(revisits, described[0.6], described[0.0]) >= LEAST


def test_other_operators_give_the_same_descriptor(encoder, corridor):
    """Nothing is chosen from rounded values, so that no rounding tips a choice over."""
    stock = Encoder(encoder.path, compiled=False)
    if stock.operators == encoder.operators:
        pytest.skip("needs the compiled operators")
    revisits, described = corridor
    for number in range(0, len(revisits.database), 12):
        image = read_image(revisits.database[number])
        for sparsity in SPARSITIES:
            found = float(stock.encode(image, sparsity) @ described[sparsity][number])
            assert found > 0.998, (number, sparsity)


def test_the_score_of_noise_is_below_the_threshold(encoder, corridor):
    _, described = corridor
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    for sparsity in SPARSITIES:
        score = (described[sparsity] @ encoder.encode(blurred, sparsity)).max()
        assert score < encoder.contract.calibration_at(sparsity).score_threshold
