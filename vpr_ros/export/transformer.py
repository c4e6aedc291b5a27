# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a trained transformer to a checked ONNX model."""

from __future__ import annotations

import onnx
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.export import functions
from vpr_ros.export.check import Agreement, check, sample_images
from vpr_ros.export.deploy_layers import PackedTernaryLinear, becomes_int8, deployed
from vpr_ros.export.functions import CONTRIB, DOMAIN, EPILOGUES, INT8, NESTED, SLIM, SPARSE
from vpr_ros.export.fusion import fuse
from vpr_ros.export.onnx_file import share_constants, store_half, store_ternary
from vpr_ros.export.trace import trace
from vpr_ros.networks.tat_vpr import TatVPR

IR_VERSION = 10  # onnxruntime 1.19 reads up to this one
GOOD_ENOUGH = 0.995  # cosine of the descriptor with all layers in int8
ONE_LAYER = 0.998  # cosine with one layer in int8, below which that layer stays float


def build_transformer(
    network: nn.Module,
    height: int,
    width: int,
    precision: str = "int8",
    sparsities: tuple[float, ...] = (0.0, 0.4, 0.6),
) -> tuple[onnx.ModelProto, list[Agreement]]:
    """The ONNX model of a TatVPR or EfficientVPR for images of height x width px.

    `precision` is one of `deploy_layers.PRECISIONS`; in int8, layers that it would hurt stay
    float. The model has been compared with torch at each of `sparsities` (only 0 for a network
    without the dial); raises ModelError if they differ. The caller adds the contract.
    """
    kept = layers_hurt_by_int8(network, height, width) if precision == "int8" else frozenset()
    runs = deployed(network, precision, kept)
    model = trace_transformer(runs, height, width, precision)
    if precision != "fp32":
        store_half(model)
        store_ternary(model)
        share_constants(model)
    dial = len(model.graph.input) > 1
    wanted = [sparsity for sparsity in sparsities if dial or sparsity == 0.0]
    return model, [check(model, runs, network, sparsity) for sparsity in wanted]


@torch.no_grad()
def layers_hurt_by_int8(network: nn.Module, height: int, width: int) -> frozenset[str]:
    """Names of the layers of `network` that should stay float, for images of height x width px.

    Usually none. But if a few channels of a layer's input are much larger than the others (as in
    tokens of DINOv2) and the small ones matter (a whitening amplifies them), int8 codes with one
    common scale lose the small ones. So if the whole network in int8 gives another descriptor,
    every layer is tried alone.
    """
    images = sample_images(height, width)
    setting = (torch.tensor(0.0),) if isinstance(network, TatVPR) else ()
    expected = network.eval()(images, *setting)

    def cosine(kept: frozenset[str]) -> float:
        found: Tensor = deployed(network, "int8", kept)(images, *setting)
        return float(F.cosine_similarity(found.double(), expected.double(), dim=1).min())

    if cosine(frozenset()) >= GOOD_ENOUGH:
        return frozenset()
    names = frozenset(name for name, layer in network.named_modules() if becomes_int8(layer))
    return frozenset(name for name in names if cosine(names - {name}) < ONE_LAYER)


def trace_transformer(runs: nn.Module, height: int, width: int, precision: str) -> onnx.ModelProto:
    """A network from `deployed` for images of height x width px, with the operators it uses.

    Inputs: `image` (N, 3, height, width) and, if ternary layers are sparse, the scalar `sparsity`.
    Output: `descriptor`.
    """
    inputs = {"image": torch.zeros(2, 3, height, width)}
    if any(isinstance(layer, PackedTernaryLinear) for layer in runs.modules()):
        inputs["sparsity"] = torch.tensor(0.5)
    model = trace(runs, inputs, domains=(DOMAIN,))
    if precision != "fp32":
        fuse(model.graph, attention=precision == "int8")
    define_operators(model)
    return model


def define_operators(model: onnx.ModelProto) -> None:
    """Add the functions of our operators that `model` uses."""
    definitions = {
        f"{name}{epilogue}": define(epilogue)
        for epilogue in EPILOGUES
        for name, define in (
            (SPARSE, functions.sparse_ternary_linear),
            (NESTED, functions.nested_ternary_linear),
            (SLIM, functions.slim_ternary_linear),
            (INT8, functions.int8_linear),
        )
    } | {
        "Attention": functions.attention(),
        "CrossAttention": functions.cross_attention(),
        "SelfAttention": functions.self_attention(),
        "LayerNorm": functions.layer_norm(),
    }
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    model.functions.extend(function for name, function in definitions.items() if name in used)
    model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    model.ir_version = IR_VERSION
