# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoint to file: the contract is whole, and nothing wrong is ever written."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.export import check
from vpr_ros.export.export_checkpoint import export_checkpoint
from vpr_ros.export.onnx_file import write_onnx
from vpr_ros.networks.checkpoint import save_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig
from vpr_ros.training.closed_form import pass_through

NOTES = {"training_data": "none: random weights of a test", "licence": "Apache-2.0"}
IMAGE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.fixture
def tat(tmp_path):
    torch.manual_seed(0)
    config = TatVPRConfig(image_size=64, dim=64, depth=2, heads=1, head="gem")
    save_checkpoint(tmp_path / "tiny.pt", TatVPR(config), NOTES)
    return tmp_path / "tiny.pt"


@pytest.fixture(params=[{}, {"choice": "log-share", "projection": "compress", "size": 48}])
def efficient(tmp_path, request):
    torch.manual_seed(0)
    config = EfficientVPRConfig(
        dim=64, depth=2, heads=1, position_grid=4, prompts=8, rows=4, **request.param
    )
    save_checkpoint(tmp_path / "efficient.pt", EfficientVPR(config))
    return tmp_path / "efficient.pt"


def test_the_robot_runs_it_and_reads_what_it_is(tat, tmp_path):
    output = tmp_path / "tiny.onnx"
    agreements = export_checkpoint(tat, output)
    assert [a.sparsity for a in agreements] == [0.0, 0.3, 0.6]
    encoder = Encoder(output)
    contract = encoder.contract
    assert (contract.name, contract.input_height, contract.input_width) == ("tiny", 64, 64)
    assert (contract.dial, contract.tile, contract.sparsity_max) == ("activations", "token", 0.6)
    assert (contract.training_data, contract.licence) == tuple(NOTES.values())
    assert contract.calibration == ()
    dense, sparse = encoder.encode(IMAGE), encoder.encode(IMAGE, 0.6)
    assert dense.shape == (64,)
    assert np.abs(dense - sparse).max() > 1e-3
    assert {f.name for f in tmp_path.iterdir()} == {"tiny.pt", "tiny.onnx"}


def test_efficientvpr_has_no_dial_and_any_size_of_whole_patches(efficient, tmp_path):
    output = tmp_path / "model.onnx"
    (agreement,) = export_checkpoint(efficient, output, "fp16", 56, 70)
    assert agreement.cosine > 0.9999
    contract = Encoder(output).contract
    assert (contract.input_height, contract.input_width) == (56, 70)
    assert (contract.dial, contract.sparsity_max, contract.tile) == ("none", 0.0, "")
    assert contract.licence == "unknown, the checkpoint does not say"
    with pytest.raises(ConfigError, match="60x70"):
        export_checkpoint(efficient, output, "fp16", 60, 70)


def test_layers_with_equal_weights_are_exported(tmp_path):
    """As both convolutions of OLE at a start in closed form."""
    torch.manual_seed(0)
    config = EfficientVPRConfig(dim=64, depth=2, heads=1, position_grid=4, prompts=8, rows=4)
    network = EfficientVPR(config)
    with torch.no_grad():
        pass_through(network.ole)
    save_checkpoint(tmp_path / "equal.pt", network)
    (agreement,) = export_checkpoint(tmp_path / "equal.pt", tmp_path / "e.onnx", "int8", 56, 70)
    assert agreement.cosine > 0.999


def test_the_dense_yardstick_has_no_dial(tat, tmp_path):
    export_checkpoint(tat, tmp_path / "dense.onnx", "fp32")
    assert Encoder(tmp_path / "dense.onnx").contract.dial == "none"


def test_what_differs_from_torch_is_refused_and_the_older_file_stays(tat, tmp_path, monkeypatch):
    output = tmp_path / "tiny.onnx"
    output.write_bytes(b"older")
    monkeypatch.setattr(check, "OPERATOR_TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="Nothing was written"):
        export_checkpoint(tat, output)
    assert output.read_bytes() == b"older"
    assert {f.name for f in tmp_path.iterdir()} == {"tiny.pt", "tiny.onnx"}


def test_bad_arguments_are_told_before_the_work(tat, tmp_path):
    with pytest.raises(ModelError, match="Precision is 'int4'"):
        export_checkpoint(tat, tmp_path / "a.onnx", "int4")
    with pytest.raises(ModelError, match="folder that exists"):
        export_checkpoint(tat, tmp_path / "no" / "a.onnx")
    with pytest.raises(ModelError, match="does not exist"):
        export_checkpoint(tmp_path / "no.pt", tmp_path / "a.onnx")


def test_thresholds_go_into_the_file_and_change_nothing_else(tat, tmp_path):
    output = tmp_path / "tiny.onnx"
    export_checkpoint(tat, output)
    before = Encoder(output)
    points = (Calibration(0.0, 0.5), Calibration(0.6, 0.4))
    contract = dataclasses.replace(before.contract, calibration=points)
    write_onnx(onnx.load(output), contract, output)
    after = Encoder(output)
    assert after.contract.calibration_at(0.3).score_threshold == pytest.approx(0.45)
    assert dataclasses.replace(after.contract, calibration=()) == before.contract
    assert np.array_equal(before.encode(IMAGE, 0.3), after.encode(IMAGE, 0.3))
