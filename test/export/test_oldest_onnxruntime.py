# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Exported files run on the oldest supported onnxruntime and give what the newest gives.

python3 -m venv old && old/bin/pip install onnxruntime==1.19.2 "numpy<2"
VPR_OLD_PYTHON=old/bin/python python -m pytest test/export/test_oldest_onnxruntime.py
"""

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vpr_ros.core.encoder import Encoder
from vpr_ros.core.images import preprocess
from vpr_ros.export.check import sample_images
from vpr_ros.export.export_checkpoint import export_checkpoint
from vpr_ros.networks.checkpoint import save_checkpoint
from vpr_ros.networks.efficientvpr import EfficientVPR, EfficientVPRConfig
from vpr_ros.networks.tat_vpr import TatVPR, TatVPRConfig

OLD = os.environ.get("VPR_OLD_PYTHON")
SHIPPED = sorted((Path(__file__).resolve().parents[2] / "models").glob("*.onnx"))
RUN = """
import sys, numpy, onnxruntime
model, image, sparsity, output = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
feed = {"image": numpy.load(image), "sparsity": numpy.array(float(sparsity), numpy.float32)}
names = [i.name for i in session.get_inputs()]
numpy.save(output, session.run(None, {name: feed[name] for name in names})[0])
print(onnxruntime.__version__)
"""

pytestmark = pytest.mark.skipif(not OLD, reason="VPR_OLD_PYTHON names no other Python")


def agree(model, folder, sparsities, image=None):
    encoder = Encoder(model, compiled=False)
    if image is None:
        size = encoder.contract.input_height, encoder.contract.input_width
        image = sample_images(*size)[:1].numpy()
    np.save(folder / "image.npy", image)
    for sparsity in sparsities:
        output = folder / "output.npy"
        command = [OLD, "-c", RUN, model, folder / "image.npy", str(sparsity), output]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("1.19.")
        assert float(np.load(output)[0] @ encoder.run(image, sparsity)) > 0.999


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("selection", ["token", "nested"])
def test_tat_vpr(precision, selection, tmp_path):
    torch.manual_seed(0)
    layout = "dinov2" if selection == "nested" else "reference"
    shape = {"image_size": 64, "dim": 64, "depth": 2, "heads": 1, "head": "boq"}
    config = TatVPRConfig(**shape, selection=selection, layout=layout)
    save_checkpoint(tmp_path / "t.pt", TatVPR(config))
    export_checkpoint(tmp_path / "t.pt", tmp_path / "t.onnx", precision)
    agree(tmp_path / "t.onnx", tmp_path, (0.0,) if precision == "fp32" else (0.0, 0.4, 0.6))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_efficientvpr(precision, tmp_path):
    torch.manual_seed(0)
    config = EfficientVPRConfig(dim=64, depth=2, heads=1, position_grid=4, prompts=8, rows=4)
    save_checkpoint(tmp_path / "e.pt", EfficientVPR(config))
    export_checkpoint(tmp_path / "e.pt", tmp_path / "e.onnx", precision, 112, 112)
    agree(tmp_path / "e.onnx", tmp_path, (0.0,))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_models(path, tmp_path, shared_data):
    contract = Encoder(path).contract
    dial = contract.sparsity_max
    picture = preprocess(cv2.imread(str(shared_data / "rtabmap_samples/3.jpg")), contract)
    agree(path, tmp_path, sorted({0.0, dial / 2, dial}), picture)
