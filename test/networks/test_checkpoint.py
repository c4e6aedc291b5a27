# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints come back whole, with their configuration, or not at all."""

import pytest
import torch

from vpr_ros.core.errors import ModelError
from vpr_ros.networks.checkpoint import load_checkpoint, save_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig

TAT = TatVPRConfig(image_size=32, patch_size=8, dim=16, depth=2, heads=2, head="cls")
EFFICIENT = EfficientVPRConfig(
    patch_size=8, dim=64, depth=2, heads=2, position_grid=2, prompts=3, rows=2
)


@pytest.mark.parametrize("network", [TatVPR(TAT), EfficientVPR(EFFICIENT)], ids=["tat", "eff"])
def test_round_trip(network, tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, network, {"training_data": "none"})
    again, notes = load_checkpoint(path)
    assert notes == {"training_data": "none"}
    assert again.config == network.config
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(image), network.eval()(image))
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_missing_broken_and_foreign_files(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(ModelError, match="does not exist"):
        load_checkpoint(path)
    for content in (b"not a checkpoint", b"# Text", b""):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not a readable checkpoint") as error:
            load_checkpoint(path)
        assert "weights_only" not in str(error.value)  # torch's advice to trust the file
    torch.save({"format": 2}, path)
    with pytest.raises(ModelError, match="format 2"):
        load_checkpoint(path)
    with pytest.raises(ModelError, match="Cannot save a Linear"):
        save_checkpoint(path, torch.nn.Linear(1, 1))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, TatVPR(TAT))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError):
        load_checkpoint(path)
