# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint made from a model file is the network in it, and can be trained."""

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from tools.restore_checkpoint import main, restored  # noqa: E402
from vpr_ros.core.encoder import Encoder  # noqa: E402
from vpr_ros.core.images import preprocess  # noqa: E402
from vpr_ros.core.model_files import find_model  # noqa: E402
from vpr_ros.networks.checkpoint import load_checkpoint  # noqa: E402
from vpr_ros.training.initial_network import taught_head  # noqa: E402


@pytest.mark.parametrize(
    "name, sparsities", [("tat-vpr-s", (0.0, 0.6)), ("efficientvpr-s", (0.0,))]
)
def test_gives_the_descriptors_of_the_model(name, sparsities, tmp_path):
    assert main([name, str(tmp_path / "restored.pt")]) == 0
    network, notes = load_checkpoint(tmp_path / "restored.pt")
    encoder = Encoder(find_model(name))
    for key in ("name", "version", "training_data", "licence"):
        assert notes[key] == getattr(encoder.contract, key)
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    pixels = preprocess(image.repeat(20, axis=0).repeat(20, axis=1), encoder.contract)
    for sparsity in sparsities:
        dial = (torch.tensor(sparsity),) if len(sparsities) > 1 else ()
        with torch.no_grad():
            descriptor = network(torch.from_numpy(pixels), *dial)[0].numpy()
        assert descriptor @ encoder.run(pixels, sparsity) > 0.998


def test_serves_as_backbone_of_recipe_efficientvpr_s(tmp_path):
    assert main(["tat-vpr-s", str(tmp_path / "tat-vpr-s.pt")]) == 0
    head = taught_head("tat-vpr-s.pt", tmp_path)
    assert head is not None and head.ask.in_features == 384


def test_codes_and_steps_are_those_of_the_file():
    network, _ = restored(find_model("tat-vpr-s"))
    layer = network.backbone.blocks[0].attention.qkv
    codes, delta = layer.ternary()
    assert set(codes.unique().tolist()) == {-1.0, 0.0, 1.0}
    graph = onnx.load(find_model("tat-vpr-s")).graph
    stored = next(
        onnx.numpy_helper.to_array(t)
        for t in graph.initializer
        if t.name == "backbone.blocks.0.attention.qkv.delta"
    )
    np.testing.assert_allclose(delta.detach().numpy().ravel(), stored, rtol=1e-5)


@pytest.mark.parametrize(
    "removed", ["backbone.norm.weight", "onnx::", "backbone.blocks.2.mlp.widen.packed.squeezed"]
)
def test_a_file_without_a_weight_is_refused(removed, tmp_path, capsys):
    model = onnx.load(find_model("tat-vpr-s"))
    kept = [t for t in model.graph.initializer if not t.name.startswith(removed)]
    assert len(kept) < len(model.graph.initializer)
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(kept)
    onnx.save(model, tmp_path / "broken.onnx")
    assert main([str(tmp_path / "broken.onnx"), str(tmp_path / "out.pt")]) == 1
    said = capsys.readouterr().err
    assert "the weights of recipe tat-vpr-s" in said or "has no weight '" in said
    assert not (tmp_path / "out.pt").exists()


def test_what_is_no_model_is_refused(tmp_path, capsys):
    (tmp_path / "text.onnx").write_text("hello")
    assert main([str(tmp_path / "text.onnx"), str(tmp_path / "out.pt")]) == 1
    assert "text.onnx is not an ONNX file" in capsys.readouterr().err


def test_a_missing_folder_is_made(tmp_path):
    assert main(["tat-vpr-s", str(tmp_path / "data" / "tat-vpr-s.pt")]) == 0
    assert (tmp_path / "data" / "tat-vpr-s.pt").is_file()


def test_a_model_without_a_recipe_is_refused(tmp_path, capsys):
    assert main(["mobilenetv2-gem", str(tmp_path / "out.pt")]) == 1
    assert "there is no recipe of that name" in capsys.readouterr().err
