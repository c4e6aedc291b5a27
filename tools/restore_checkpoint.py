# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make a checkpoint from a trained model of this package, to train it further.

python -m tools.restore_checkpoint tat-vpr-s DATA/tat-vpr-s.pt

The network's options are those of the recipe with the model's name. Ternary weights come back with
the same codes and steps, but what they were rounded from is lost; int8 weights and those in half
precision come back rounded.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from vpr_ros.core.contract import Contract
from vpr_ros.core.errors import ModelError, VprError
from vpr_ros.core.model_files import find_model
from vpr_ros.export.functions import INT8, TERNARY
from vpr_ros.export.packing import unpack_ternary, unsqueeze
from vpr_ros.networks.checkpoint import save_checkpoint
from vpr_ros.training.initial_network import RANDOM, make_network
from vpr_ros.training.recipe import RECIPES, Recipe
from vpr_ros.training.ternary_fit import latent

# The export makes them part of the weights before them.
LAYER_SCALES = ("scale1.gain", "scale2.gain")
# Torch's exporter folds what is done to a weight and names the result itself. These are the
# matrices that a MatMul reads, in the order of the graph, and the positions.
MATRICES = {
    "tat-vpr": ["head.whiten.weight", "head.mix.weight"],
    "efficientvpr": ["selector.select.out.weight", "mix.weight"],
}
POSITIONS = {"tat-vpr": "backbone.positions", "efficientvpr": "backbone.backbone.positions"}


def restored(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network in the model file at `path` with its weights, and the notes of a checkpoint.

    ModelError if it is no ONNX file, or has no weight of the network's name and shape.
    """
    try:
        model = onnx.load(path)
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX file. Give a model of this package.") from None
    contract = Contract.from_metadata({e.key: e.value for e in model.metadata_props}, str(path))
    if not (RECIPES / f"{contract.name}.yaml").is_file():
        raise ModelError(
            f"{path} is called '{contract.name}', and there is no recipe of that name. Give "
            "tat-vpr-s, efficientvpr-s, or the checkpoint of your own network."
        )
    recipe = Recipe.find(contract.name)
    network = make_network(
        dataclasses.replace(recipe, backbone=RANDOM, start_from=""), data=path.parent
    )
    own = network.state_dict()
    found = {k: torch.ones_like(v) for k, v in own.items() if k.endswith(LAYER_SCALES)}
    try:
        found |= weights_of(model.graph) | folded_weights(model.graph, recipe.network)
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"{path} does not have the weights of recipe {contract.name} ({error}). Give a model "
            "that was exported from it, or its checkpoint."
        ) from None
    state = {}
    for name, tensor in own.items():
        weight = found.get(name, torch.empty(0))
        if weight.numel() != tensor.numel():
            raise ModelError(
                f"{path} has no weight '{name}' of shape {tuple(tensor.shape)}. Give a model that "
                f"was exported from recipe {contract.name}, or its checkpoint."
            )
        if tensor.ndim == 4 and weight.ndim == 2:  # a convolution as a product: (N, kh kw C)
            outputs, channels, *kernel = tensor.shape
            weight = weight.reshape(outputs, *kernel, channels).permute(0, 3, 1, 2)
        state[name] = weight.reshape(tensor.shape)
    network.load_state_dict(state, strict=True)
    # What the licence asks for must be in whatever is trained from these weights, too.
    kept = ("name", "version", "training_data", "licence")
    return network.eval(), {key: getattr(contract, key) for key in kept}


def initialisers(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """The float32 or whole numbers of a graph, by name; half precision is widened."""
    found = {}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        wide = values.astype(np.float32) if values.dtype == np.float16 else values
        found[tensor.name.removesuffix(".half")] = torch.from_numpy(wide.copy())
    return found


def weights_of(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Weights by their name in the network, products' weights as (outputs, inputs)."""
    found = initialisers(graph)
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    shapes = {n.output[0]: n.input[1] for n in graph.node if n.op_type == "RepackTernary"}
    for node in graph.node:
        if node.op_type.startswith(TERNARY):
            layer = node.input[1].removesuffix(".packed")
            squeezed = found[f"{layer}.packed.squeezed"].numpy()
            packed = unsqueeze(squeezed, tuple(found[shapes[node.input[1]]].tolist()))
            codes = torch.from_numpy(unpack_ternary(packed).T.astype(np.float32))
            delta = found[f"{layer}.delta"].reshape(-1, 1)
            found[f"{layer}.weight"] = latent(codes, delta, codes * delta)
            orders = [
                constants[n] for n in node.input if n in constants and constants[n].ndim == 1
            ]
            found |= {f"{layer}.rank": torch.from_numpy(o.copy()) for o in orders}
        elif node.op_type.startswith(INT8):
            layer = node.input[1].removesuffix(".weight")
            weight = (found[f"{layer}.weight"] * found[f"{layer}.scale"]).T
            found[f"{layer.removesuffix('.product')}.weight"] = weight
            if f"{layer}.bias" in found:
                found[f"{layer.removesuffix('.product')}.bias"] = found[f"{layer}.bias"]
    return found


def folded_weights(graph: onnx.GraphProto, network: str) -> dict[str, Tensor]:
    """The weights in constants that torch's exporter has named."""
    values = {k: v for k, v in initialisers(graph).items() if k.startswith("onnx::")}
    readers: dict[str, list[Tensor]] = {}
    for node in graph.node:
        for name in node.input:
            if name in values:
                readers.setdefault(node.op_type, []).append(values.pop(name))
    matrices = (matrix.T for matrix in readers.get("MatMul", []))
    found = dict(zip(MATRICES[network], matrices, strict=False))
    if readers.keys() >= {"Concat", "Reshape"}:
        class_token, patches = readers["Concat"][0], readers["Reshape"][0]  # (1, 1, C), (1, C, N)
        found[POSITIONS[network]] = torch.cat([class_token, patches.transpose(1, 2)], dim=1)
    if readers.keys() >= {"Expand", "Mul"}:
        found["backbone.prompts"] = torch.stack([*readers["Expand"], *readers["Mul"]])
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the checkpoint; 0 if it was written."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.restore_checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="ONNX file, or the name of a shipped model")
    parser.add_argument("checkpoint", type=Path, help="file to write")
    options = parser.parse_args(arguments)
    try:
        network, notes = restored(find_model(options.model))
        options.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(options.checkpoint, network, notes)
    except (VprError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.checkpoint}: {options.checkpoint.stat().st_size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
