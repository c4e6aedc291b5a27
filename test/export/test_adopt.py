# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`vpr adopt`: from a torch network by the guide's lines to a model of the robot."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from published_networks import PUBLISHED

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.errors import ConfigError, ModelError
from vpr_ros.core.image_files import read_image
from vpr_ros.core.images import preprocess
from vpr_ros.evaluation.image_set import DatasetOptions
from vpr_ros.export.adopt import run_adopt, triple, whole_size
from vpr_ros.export.foreign_network import Given

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "own_network.md"
LINES = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL).group(1)


def wall(seed=0):
    """A long textured wall that a camera drives along."""
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 300, 3)).astype(np.uint8)
    return cv2.resize(coarse, None, fx=20, fy=20, interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """A folder of images in the order of a drive."""
    folder = tmp_path_factory.mktemp("drive")
    for number in range(20):
        cv2.imwrite(str(folder / f"{number:03d}.png"), wall()[:, 40 * number : 40 * number + 320])
    return folder


def adopt(file, target, images, **given):
    return run_adopt(str(file), target, Given(**given), [images], DatasetOptions())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_guide_s_lines_export_what_adopt_takes(name, tmp_path, monkeypatch, drive):
    make, side, size = PUBLISHED[name]
    torch.manual_seed(0)
    network = make().eval()
    monkeypatch.setattr(torch.hub, "load", lambda *_, **__: network)
    monkeypatch.chdir(tmp_path)
    exec(LINES.replace("322, 322", f"{side}, {side}"), {})
    output = "descriptor" if name == "BoQ" else ""
    if output:
        with pytest.raises(ModelError, match=r"has 3 outputs; .* --output: descriptor, "):
            adopt("network.onnx", tmp_path / "model.onnx", drive)
    adopt("network.onnx", tmp_path / "model.onnx", drive, output=output)
    encoder = Encoder(tmp_path / "model.onnx")
    contract = encoder.contract
    assert (contract.input_height, contract.descriptor_size) == (side, size)
    assert len(contract.calibration) == 1 and contract.change > 0 and encoder.remark == ""
    image = read_image(drive / "007.png")
    with torch.no_grad():
        expected = network(torch.from_numpy(preprocess(image, contract)))
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert float(encoder.encode(image) @ expected[0].numpy()) == pytest.approx(1.0, abs=1e-4)


def test_options_as_text():
    assert whole_size("322x448") == (322, 448) and whole_size("") is None
    assert triple("0.5, 0.5,1", "--mean") == (0.5, 0.5, 1.0) and triple("", "--mean") is None
    for text in ("322", "322x", "0x4", "axb"):
        with pytest.raises(ConfigError, match="HEIGHTxWIDTH"):
            whole_size(text)
    for text in ("0.5", "1,2,3,4", "a,b,c", "0.5,0.5,0", "nan,1,1", "58,57,57"):
        with pytest.raises(ConfigError, match="--std is"):
            triple(text, "--std")
