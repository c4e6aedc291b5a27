# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The trained models as shipped: what they say of themselves, and what their cards promise."""

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
from vpr_ros.evaluation.search import search
from vpr_ros.export.onnx_file import session_of

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "rtabmap_samples"
SPARSITIES = {"tat-vpr-s": (0.0, 0.4, 0.6), "efficientvpr-s": (0.0,)}
# R@1 on the revisits: 40 of them, one may be missed.
LEAST = {"tat-vpr-s": 0.975, "efficientvpr-s": 1.0}
tat_vpr = pytest.mark.parametrize("encoder", ["tat-vpr-s"], indirect=True)
efficientvpr = pytest.mark.parametrize("encoder", ["efficientvpr-s"], indirect=True)


@pytest.fixture(scope="module", params=SPARSITIES)
def encoder(request):
    return Encoder(ROOT / "models" / f"{request.param}.onnx")


@pytest.fixture(scope="module")
def revisits(tmp_path_factory):
    """Two laps of an office corridor."""
    if not DATA.is_dir():
        pytest.skip(f"needs the images in {DATA}")
    return open_dataset(rtabmap_samples(DATA.parent, tmp_path_factory.mktemp("sets")))


@pytest.fixture(scope="module")
def described(encoder, revisits):
    """Descriptors of all its images by sparsity."""
    images = [read_image(path) for path in revisits.database]
    return {
        s: np.stack([encoder.encode(image, s) for image in images])
        for s in SPARSITIES[encoder.contract.name]
    }


def recall_at_1(revisits, queries, database):
    return revisits.judge(search(queries, database, revisits.searchable)).recall_at(1)


def test_the_file_says_what_it_is(encoder):
    contract = encoder.contract
    assert "not the released DINOv2" in contract.training_data
    assert all(0.0 < point.score_threshold < 1.0 for point in contract.calibration)


@tat_vpr
def test_the_file_of_tat_vpr_says_what_it_is(encoder):
    contract = encoder.contract
    found = contract.dial, contract.tile, contract.sparsity_max
    assert found == ("activations", "nested", 0.6)
    assert [point.sparsity for point in contract.calibration] == [0.0, 0.2, 0.4, 0.6]
    medium, low = contract.levels
    assert 0.0 < medium < low <= contract.sparsity_max  # the battery's two limits both show
    assert encoder.path.stat().st_size < 7.5e6


@efficientvpr
def test_the_file_of_efficientvpr_says_what_it_is(encoder):
    contract = encoder.contract
    found = contract.dial, contract.descriptor_size, contract.version, len(contract.calibration)
    assert found == ("none", 768, "3", 1)
    assert "SSCD" in contract.training_data
    assert encoder.path.stat().st_size < 25e6


def test_the_card_says_first_whose_weights_these_are_not(encoder):
    title, first, *_ = encoder.path.with_suffix(".md").read_text().split("\n\n")
    assert title == f"# {encoder.contract.name}"
    assert "does not contain the released DINOv2 weights" in " ".join(first.split())


def test_revisits_are_found_at_every_sparsity_and_in_the_map_of_sparsity_0(
    encoder, revisits, described
):
    number = [revisits.database.index(path) for path in revisits.queries]
    for sparsity, found in described.items():
        for database in (found, described[0.0]):
            recall = recall_at_1(revisits, found[number], database)
            assert recall >= LEAST[encoder.contract.name], sparsity


def test_the_score_of_noise_is_below_the_threshold(encoder, described):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    for sparsity, database in described.items():
        score = (database @ encoder.encode(blurred, sparsity)).max()
        assert score < encoder.contract.calibration_at(sparsity).score_threshold


@tat_vpr
def test_other_operators_give_the_same_descriptor(encoder, revisits, described):
    """Nothing is chosen from rounded values, so that no rounding tips a choice over."""
    stock = Encoder(encoder.path, compiled=False)
    if stock.operators == encoder.operators:
        pytest.skip("needs the compiled operators")
    for number in range(0, len(revisits.database), 12):
        image = read_image(revisits.database[number])
        for sparsity, database in described.items():
            found = float(stock.encode(image, sparsity) @ database[number])
            assert found > 0.998, (number, sparsity)


@efficientvpr
def test_prompts_are_kept_and_replaced(encoder, revisits):
    """alpha of every layer and prompt, by `choice: log-share`: the numbers of the card."""
    model = onnx.load(encoder.path)
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


@efficientvpr
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_changed_queries_still_find_it(encoder, revisits, described, change):
    """The ImageNet baseline finds 90, 90 and 65 % of them."""
    changed = [change.apply(read_image(path)) for path in revisits.queries]
    queries = np.stack([encoder.encode(image) for image in changed])
    assert recall_at_1(revisits, queries, described[0.0]) >= 0.9
