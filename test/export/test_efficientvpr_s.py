# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The trained EfficientVPR as shipped: what it says of itself, and what its card promises."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tools.shared_sets import rtabmap_samples
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import preprocess
from vpr_ros.evaluation.image_changes import CHANGES
from vpr_ros.evaluation.layouts import open_dataset
from vpr_ros.export.onnx_file import session_of

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / "efficientvpr-s.onnx"
DATA = ROOT.parent / "shared" / "data" / "rtabmap_samples"


@pytest.fixture(scope="module")
def encoder():
    return Encoder(SHIPPED)


@pytest.fixture(scope="module")
def corridor(encoder, tmp_path_factory):
    """Queries, their right answers, and the descriptors of two laps of an office corridor."""
    if not DATA.is_dir():
        pytest.skip(f"needs the images in {DATA}")
    revisits = open_dataset(rtabmap_samples(DATA.parent, tmp_path_factory.mktemp("sets")))
    return revisits, np.stack([encoder.encode(read_image(p)) for p in revisits.database])


def recall_at_1(revisits, queries, database):
    scores = queries @ database.T
    later = np.arange(len(database)) >= revisits.searchable[:, None]
    best = np.where(later, -1.0, scores).argmax(axis=1)
    return np.mean([b in p for b, p in zip(best, revisits.positives, strict=True)])


def test_the_file_says_what_it_is(encoder):
    contract = encoder.contract
    assert (contract.name, contract.dial, contract.descriptor_size) == (
        "efficientvpr-s", "none", 768,
    )  # fmt: skip
    assert contract.version == "2"
    assert "not the released DINOv2" in contract.training_data
    assert "SSCD" in contract.training_data
    (point,) = contract.calibration
    assert 0.0 < point.score_threshold < 1.0
    assert SHIPPED.stat().st_size < 25e6


def test_prompts_are_kept_and_replaced(encoder, corridor):
    """alpha of every layer and prompt, by `choice: log-share`: the numbers of the card."""
    revisits, _ = corridor
    model = onnx.load(SHIPPED)
    names = [node.output[0] for node in model.graph.node if node.op_type == "Sigmoid"]
    for name in names:
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        model.graph.output.append(value)
    session = session_of(model)
    alpha = np.stack(
        [
            np.concatenate(session.run(names, {"image": pixels}))
            for path in revisits.database[::8]
            for pixels in [preprocess(read_image(path), encoder.contract)]
        ]
    )
    assert alpha.shape[1:] == (5, 32)
    low, high = np.quantile(alpha, [0.05, 0.95])
    assert 0.15 < alpha.min() < low < 0.37 < 0.59 < high < alpha.max() < 0.75
    assert 0.012 < alpha.std(axis=0).mean() < 0.02  # between images


def test_the_card_says_first_whose_weights_these_are_not():
    title, first, *_ = (ROOT / "models" / "efficientvpr-s.md").read_text().split("\n\n")
    assert title == "# efficientvpr-s"
    assert "does not contain the released DINOv2 weights" in " ".join(first.split())


def test_every_revisit_of_the_office_corridor_is_found(encoder, corridor):
    revisits, database = corridor
    number = {path: i for i, path in enumerate(revisits.database)}
    queries = database[[number[path] for path in revisits.queries]]
    assert recall_at_1(revisits, queries, database) == 1.0


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_changed_queries_still_find_it(encoder, corridor, change):
    """The ImageNet baseline finds 90, 90 and 65 % of them."""
    revisits, database = corridor
    changed = [change.apply(read_image(path)) for path in revisits.queries]
    queries = np.stack([encoder.encode(image) for image in changed])
    assert recall_at_1(revisits, queries, database) >= 0.9


def test_the_score_of_noise_is_far_below_the_threshold(encoder, corridor):
    _, database = corridor
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    scores = database @ encoder.encode(cv2.GaussianBlur(noise, (0, 0), 3))
    assert scores.max() < encoder.contract.calibration_at(0.0).score_threshold
