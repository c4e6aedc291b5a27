# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Does the exported graph compute what torch computes?"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.core.errors import ModelError
from vpr_ros.export.deploy_layers import Attention, Int8Product, Order, TernaryProduct
from vpr_ros.export.functions import DOMAIN, LINEAR, SLIM, SPARSE, TERNARY, epilogue_inputs
from vpr_ros.export.onnx_file import session_of
from vpr_ros.export.packing import unsqueeze
from vpr_ros.networks.sparse_ternary_linear import kept_channels

Array = npt.NDArray[np.float32]

OPERATOR_TOLERANCE = 1e-4  # relative error of an operator: float32 sums in another order
DESCRIPTOR_TOLERANCE = 1e-3  # 1 - cosine, in addition to the network's own sensitivity
DISTURBANCE = 1e-6  # relative change of a pixel, about the rounding of float32


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How close onnxruntime and torch are at one sparsity, in the worst image."""

    sparsity: float
    operator_error: float  # relative error of one operator, given the same input
    cosine: float  # between descriptors of onnxruntime and torch, same weights
    cosine_to_original: float  # to the network before its weights were rounded
    sensitivity: float  # 1 - cosine in torch alone if the image changes by `DISTURBANCE`


def check(
    model: onnx.ModelProto, runs: nn.Module, network: nn.Module, sparsity: float
) -> Agreement:
    """Compare `model` with `runs`, from which it was traced, on two images, alone and together.

    A network that rounds to codes and chooses channels amplifies rounding noise, so there are two
    comparisons: a tight one of every operator on its real inputs, and one of the descriptor,
    within what `runs` itself does if the image changes by one part in a million. Raises ModelError
    if either fails. How much the descriptor differs from that of `network`, whose weights are not
    rounded, is measured but not judged.
    """
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    images = sample_images(shape[2], shape[3])
    dial = len(model.graph.input) > 1
    setting = (torch.tensor(sparsity),) if dial else ()
    feed = {"sparsity": np.array(sparsity, dtype=np.float32)} if dial else {}
    with torch.no_grad():
        expected = runs(images, *setting)
        disturbed = runs(images * (1.0 + DISTURBANCE * torch.randn_like(images)), *setting)
        original = network.eval()(images, *setting)
    session = session_of(model)
    batches = images.numpy(), images[:1].numpy(), images[1:].numpy()
    outputs = [session.run(["descriptor"], {"image": batch, **feed})[0] for batch in batches]
    found = torch.from_numpy(np.concatenate(outputs))
    agreement = Agreement(
        sparsity,
        check_operators(model, images[:1].numpy(), feed),
        _cosine(expected.repeat(2, 1), found),
        _cosine(original.repeat(2, 1), found),
        1.0 - _cosine(expected, disturbed),
    )
    allowed = DESCRIPTOR_TOLERANCE + 4.0 * agreement.sensitivity
    if not 1.0 - agreement.cosine <= allowed:  # NaN must fail too
        raise ModelError(
            f"At sparsity {sparsity:g} the exported descriptor has cosine {agreement.cosine:.5f} "
            f"to torch's, allowed {1.0 - allowed:.5f}. Nothing was written."
        )
    return agreement


def check_operators(model: onnx.ModelProto, image: Array, feed: dict[str, Array]) -> float:
    """The worst relative error of any of our operators on its real inputs; see `check`."""
    nodes = [node for node in model.graph.node if node.domain == DOMAIN]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    repacked = {node.output[0] for node in nodes if node.op_type == "RepackTernary"}
    made = {
        name for node in model.graph.node if node.op_type != "Constant" for name in node.output
    }
    names = sorted({n for node in nodes for n in (*node.input, *node.output) if n in made})
    for name in names:
        kind = TensorProto.UINT8 if name in repacked else TensorProto.FLOAT
        watched.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    values = dict(
        zip(names, session_of(watched).run(names, {"image": image, **feed}), strict=True)
    )
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    worst = 0.0
    for node in nodes:
        tensors = [
            torch.from_numpy(np.array({**constants, **values, **feed}[n])) for n in node.input
        ]
        with torch.no_grad():
            expected, added = _reference(node, tensors)
        found = torch.from_numpy(values[node.output[0]]).float()
        if found.shape != (expected + added).shape:
            raise ModelError(
                f"Operator {node.op_type} '{node.name}' gives {tuple(found.shape)}, torch "
                f"{tuple(expected.shape)}. Nothing was written."
            )
        error = float((found - expected - added).norm() / expected.norm().clamp(min=1e-12))
        if not error <= OPERATOR_TOLERANCE:
            raise ModelError(
                f"Operator {node.op_type} '{node.name}' differs from torch by {error:.2g} "
                f"(relative), allowed {OPERATOR_TOLERANCE:g}. Nothing was written."
            )
        worst = max(worst, error)
    return worst


def _reference(node: onnx.NodeProto, tensors: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The output according to torch, without the residual, and the residual."""
    none = torch.zeros(())
    if node.op_type == "RepackTernary":
        squeezed, shape = (tensor.numpy() for tensor in tensors)
        return torch.from_numpy(unsqueeze(squeezed, tuple(shape))).float(), none
    if node.op_type == "LayerNorm":
        x, gain, offset = tensors
        return F.layer_norm(x, gain.shape, gain, offset, node.attribute[0].f), none
    if node.op_type in ("Attention", "CrossAttention"):
        return Attention.run(*tensors, node.attribute[0].i), none
    if node.op_type == "SelfAttention":
        return Attention.run(*tensors[0].chunk(3, dim=-1), node.attribute[0].i), none
    base = next(name for name in LINEAR if node.op_type.startswith(name))
    epilogue = node.op_type.removeprefix(base)
    own = len(tensors) - len(epilogue_inputs(epilogue))
    y = _product(base, tensors[:own])
    if epilogue:
        y = y + tensors[own]
    if epilogue == "BiasGelu":
        y = F.gelu(y)
    residual = tensors[-1] if epilogue == "BiasAdd" else none
    if base == SLIM:
        return _first_outputs(y, tensors[3]), _first_outputs(residual, tensors[3])
    return y, residual


def _first_outputs(y: Tensor, sparsity: Tensor) -> Tensor:
    """y with zeros for what the next nested layer drops."""
    if y.ndim == 0 or sparsity == 0:
        return y
    kept = kept_channels(sparsity, y.shape[-1])
    return torch.cat([y[..., :kept], torch.zeros_like(y[..., kept:])], dim=-1)


def _product(base: str, tensors: list[Tensor]) -> Tensor:
    if base not in TERNARY:
        return Int8Product.run(*tensors)
    order = None if base == SPARSE else Order(tensors.pop(), base == SLIM)
    return TernaryProduct.run(*tensors, order)


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.double(), b.double(), dim=1).min())


def sample_images(height: int, width: int) -> Tensor:
    """Two normalised images (2, 3, height, width) with structure at all scales."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(2, 3, height, width)
    for cells in (2, 8, 32, 128):
        noise = torch.randn(2, 3, cells, cells, generator=generator)
        images += F.interpolate(noise, (height, width), mode="bilinear")
    return images


def agreement_table(agreements: list[Agreement]) -> Table:
    """How close the written file is to torch, for `vpr export`."""
    table = Table("sparsity", "worst operator", "cosine to torch", "cosine to the checkpoint")
    for agreement in agreements:
        table.add_row(
            f"{agreement.sparsity:g}",
            f"{agreement.operator_error:.1e}",
            f"{agreement.cosine:.5f}",
            f"{agreement.cosine_to_original:.5f}",
        )
    return table
