# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The exporter of mobilenetv2-gem, on random weights; and the file as it is shipped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from vpr_ros.core.contract import Contract
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.core.image_files import read_image
from vpr_ros.export import mobilenet
from vpr_ros.export.__main__ import main
from vpr_ros.export.check import sample_images
from vpr_ros.export.mobilenet import TOLERANCE_HALF, Exportable, export
from vpr_ros.export.onnx_file import session_of, store_half
from vpr_ros.export.trace import trace
from vpr_ros.networks.mobilenet_v2 import MobileNetV2GeM, ResolutionDial, imagenet_weights_path

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / "mobilenetv2-gem.onnx"
DATA = ROOT.parent / "shared" / "data" / "rtabmap_samples"


@pytest.fixture(scope="module")
def encoder():
    return Encoder(SHIPPED)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def test_the_shipped_file_carries_its_contract(encoder):
    contract = encoder.contract
    assert (contract.name, contract.dial) == ("mobilenetv2-gem", "resolution")
    again = Contract.from_metadata(contract.to_metadata(), "again")
    assert again.to_metadata() == contract.to_metadata()  # NaN equals nothing
    sparsities = [point.sparsity for point in contract.calibration]
    assert sparsities == sorted(sparsities)
    assert (sparsities[0], sparsities[-1]) == (0.0, contract.sparsity_max)
    scores = [point.score_threshold for point in contract.calibration]
    assert all(0.8 < score < 1.0 for score in scores)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.4, 0.6, 0.75])
def test_shipped_descriptors_have_unit_length(encoder, image, sparsity):
    descriptor = encoder.encode(image, sparsity)
    assert descriptor.shape == (1280,)
    assert descriptor.dtype == np.float32
    assert np.linalg.norm(descriptor) == pytest.approx(1.0, abs=1e-5)


def test_the_dial_ends_at_sparsity_max(encoder, image):
    with pytest.raises(ConfigError, match=r"0\.75"):
        encoder.encode(image, 0.8)


def test_shipped_file_finds_a_revisited_place(encoder):
    if not DATA.is_dir():
        pytest.skip(f"needs the images in {DATA}")

    first_lap = [encoder.encode(read_image(DATA / f"{i}.jpg")) for i in range(1, 41)]
    again = encoder.encode(read_image(DATA / "67.jpg"))
    best = 1 + int(np.argmax(np.stack(first_lap) @ again))
    assert abs(best - 27) <= 2  # revisits.csv: 67 shows 27


@pytest.fixture(scope="module")
def item():
    torch.manual_seed(0)
    contract = dataclasses.replace(
        Encoder(SHIPPED).contract,
        name="random",
        input_height=96,
        input_width=128,
        training_data="none: random weights of a test",
        calibration=(),
    )
    return Exportable(ResolutionDial(MobileNetV2GeM()).eval(), contract)


@pytest.fixture(scope="module")
def exported(item, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "random.onnx"
    assert export(item, path) <= TOLERANCE_HALF
    assert [p.name for p in path.parent.iterdir()] == ["random.onnx"]
    return path


def images_for(contract):
    return sample_images(contract.input_height, contract.input_width).numpy()


def run(path, images, sparsity, output="descriptor"):
    feed = {"image": images, "sparsity": np.array(sparsity, dtype=np.float32)}
    (values,) = session_of(onnx.load(path)).run([output], feed)
    return values


@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.6])
def test_onnxruntime_agrees_with_torch(item, exported, sparsity):
    images = images_for(item.contract)
    with torch.no_grad():
        expected = item.network(torch.from_numpy(images), torch.tensor(sparsity)).numpy()
    np.testing.assert_allclose(run(exported, images, sparsity), expected, atol=TOLERANCE_HALF)


@pytest.mark.parametrize("sparsity", [0.0, 0.6])
def test_a_batch_gives_what_its_images_give_alone(item, exported, sparsity):
    images = images_for(item.contract)
    alone = np.concatenate([run(exported, image[None], sparsity) for image in images])
    np.testing.assert_allclose(run(exported, images, sparsity), alone, atol=1e-5)


def test_sparsity_zero_is_exactly_the_dense_graph(item, exported):
    dense = trace(item.network.network, {"image": torch.zeros(2, 3, 96, 128)}, free_sides=True)
    store_half(dense)
    images = images_for(item.contract)
    (expected,) = session_of(dense).run(["descriptor"], {"image": images})
    np.testing.assert_array_equal(run(exported, images, 0.0), expected)


@pytest.mark.parametrize(
    ("sparsity", "size"), [(0.0, (96, 128)), (0.4, (80, 96)), (0.6, (64, 80))]
)
def test_the_graph_itself_sees_fewer_pixels(item, exported, tmp_path, sparsity, size):
    model = onnx.load(exported)
    resized = onnx.helper.make_tensor_value_info("resized", onnx.TensorProto.FLOAT, None)
    model.graph.output.append(resized)
    onnx.save(model, tmp_path / "open.onnx")
    images = images_for(item.contract)
    assert run(tmp_path / "open.onnx", images, sparsity, "resized").shape == (2, 3, *size)


def test_the_exported_file_is_small_and_runs_with_stock_operators(exported):
    model = onnx.load(exported)
    assert exported.stat().st_size < 5e6
    assert {node.domain for node in model.graph.node} == {""}
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {("", 18)}


def test_a_difference_from_torch_is_refused_and_the_older_file_stays(item, monkeypatch, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    monkeypatch.setattr(mobilenet, "TOLERANCE", 0.0)
    with pytest.raises(ModelError, match="Nothing was written"):
        export(item, path)
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_an_input_that_the_dial_cannot_pass_unchanged_is_refused(item, tmp_path):
    odd = dataclasses.replace(item, contract=dataclasses.replace(item.contract, input_height=100))
    with pytest.raises(ModelError, match="100x128"):
        export(odd, tmp_path / "odd.onnx")


def test_the_command_reports_missing_weights_in_one_line(tmp_path, capsys):
    output = tmp_path / "model.onnx"
    arguments = ["mobilenetv2-gem", "--output", str(output), "--weights", str(tmp_path / "no.pth")]
    assert main(arguments) == 1
    assert "no.pth does not exist" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.slow
def test_the_shipped_file_is_what_the_exporter_writes(tmp_path):
    try:
        imagenet_weights_path()
    except ModelError as error:
        pytest.skip(str(error))
    again = tmp_path / "again.onnx"
    assert main(["mobilenetv2-gem", "--output", str(again)]) == 0
    contract = Encoder(SHIPPED).contract
    assert Encoder(again).contract.to_metadata() == contract.to_metadata()
    # Torch folds the batch norms in float32, and its last bit depends on the processor. A weight
    # close to the middle of two half-precision numbers may then be stored as the other one, which
    # changes it by up to eps(float16) of itself. If that happened to all weights, with random
    # signs, the output of a layer would change by about eps(float16) of its norm; it happens to
    # few weights, in 52 layers. A descriptor has norm 1, spread over its values.
    tolerance = np.finfo(np.float16).eps / np.sqrt(contract.descriptor_size)  # 2.7e-5
    images = images_for(contract)
    for sparsity in (0.0, 0.6):
        np.testing.assert_allclose(
            run(again, images, sparsity), run(SHIPPED, images, sparsity), rtol=0, atol=tolerance
        )
