# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 with GeM and the resolution dial, from ImageNet weights: the yardstick."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from vpr_ros.core.calibration import Calibration
from vpr_ros.core.contract import Contract
from vpr_ros.core.errors import ModelError
from vpr_ros.export.check import sample_images
from vpr_ros.export.onnx_file import put_in_front, session_of, store_half, write_onnx
from vpr_ros.export.trace import trace
from vpr_ros.networks import MEAN, STD
from vpr_ros.networks.mobilenet_v2 import (
    DESCRIPTOR_SIZE,
    GEM_P,
    SIDE_MULTIPLE,
    ResolutionDial,
    load_imagenet_model,
)

# Largest difference of one value of a unit descriptor from torch, before and after `store_half`.
TOLERANCE = 1e-5
TOLERANCE_HALF = 2e-3
# Sparsity, score: from `vpr adopt`, see the model card.
MOBILENETV2_GEM_CALIBRATION = (
    Calibration(0.0, 0.90),
    Calibration(0.2, 0.88),
    Calibration(0.4, 0.88),
    Calibration(0.6, 0.88),
    Calibration(0.75, 0.84),
)
# Sparsity at a medium and at a low battery: from `vpr adopt`, docs/models.md.
MOBILENETV2_GEM_LEVELS = (0.2, 0.4)
# Cosine distance at which a frame shows another view: from the same command.
MOBILENETV2_GEM_CHANGE = 0.03


@dataclasses.dataclass(frozen=True)
class Exportable:
    """A network ready to export, and the contract of its file."""

    network: ResolutionDial
    contract: Contract


def mobilenetv2_gem(
    weights: Path | None = None, height: int = 272, width: int = 368, p: float = GEM_P
) -> Exportable:
    """The yardstick of every table; `models/mobilenetv2-gem.md` has its measurements.

    `weights` is torchvision's file (default: the installed one), `height` and `width` the input
    in px, `p` the exponent of GeM.
    """
    contract = Contract(
        name="mobilenetv2-gem",
        version="1",
        input_height=height,
        input_width=width,
        mean=MEAN,
        std=STD,
        descriptor_size=DESCRIPTOR_SIZE,
        sparsity_max=0.75,
        dial="resolution",
        tile="",
        calibration=MOBILENETV2_GEM_CALIBRATION,
        levels=MOBILENETV2_GEM_LEVELS,
        change=MOBILENETV2_GEM_CHANGE,
        training_data="ImageNet-1k classification (torchvision mobilenet_v2-b0353104); "
        "not trained for place recognition",
        licence="BSD-3-Clause (torchvision's weights); trained on ImageNet, whose terms apply",
    )
    return Exportable(ResolutionDial(load_imagenet_model(weights, p)).eval(), contract)


def export(item: Exportable, path: Path) -> float:
    """Write `item` to `path` and return the largest difference from torch that was found.

    Raises ModelError, and leaves an older file alone, if onnxruntime and torch disagree.
    """
    contract = item.contract
    sparsities = (0.0, contract.sparsity_max / 2, contract.sparsity_max)
    height, width = contract.input_height, contract.input_width
    model, difference = build_resolution(item.network, height, width, sparsities)
    write_onnx(model, contract, path)
    return difference


def build_resolution(
    dial: ResolutionDial, height: int, width: int, sparsities: tuple[float, ...]
) -> tuple[onnx.ModelProto, float]:
    """The ONNX model of `dial` for images of height x width px, weights in half precision.

    Also the largest difference of a descriptor value from torch that was found; raises
    ModelError if it is too large. The caller adds the contract.
    """
    image = torch.zeros(2, 3, height, width)
    model = trace(dial.network, {"image": image}, free_sides=True)
    add_resolution_dial(model, height, width)
    check_resolution(model, dial, sparsities, TOLERANCE)
    store_half(model)
    return model, check_resolution(model, dial, sparsities, TOLERANCE_HALF)


def add_resolution_dial(model: onnx.ModelProto, height: int, width: int) -> None:
    """Put the Resize of `ResolutionDial` in front of a graph whose image has free sides.

    onnxruntime skips a Resize to the same size, so s = 0 costs nothing.
    """
    sides = np.array([height, width], dtype=np.float32)
    if (sides % SIDE_MULTIPLE).any():
        raise ModelError(
            f"Input {height}x{width} has a side that is no multiple of {SIDE_MULTIPLE} px; "
            "sparsity 0 would not be dense. Choose another input size."
        )
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["resized" if name == "image" else name for name in node.input]
    front = [
        helper.make_node("Sub", ["dial_one", "sparsity"], ["dial_kept"]),
        helper.make_node("Sqrt", ["dial_kept"], ["dial_scale"]),
        helper.make_node("Mul", ["dial_cells", "dial_scale"], ["dial_cells_kept"]),
        helper.make_node("Round", ["dial_cells_kept"], ["dial_cells_whole"]),
        helper.make_node("Cast", ["dial_cells_whole"], ["dial_cells_int"], to=TensorProto.INT64),
        helper.make_node("Mul", ["dial_cells_int", "dial_multiple"], ["dial_size"]),
        helper.make_node(
            "Resize",
            ["image", "", "", "dial_size"],
            ["resized"],
            axes=[2, 3],
            mode="linear",
            antialias=1,
            exclude_outside=1,  # at the borders too, weights as torch's
        ),
    ]
    put_in_front(graph, front)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(1.0, dtype=np.float32), "dial_one"),
            numpy_helper.from_array(sides / SIDE_MULTIPLE, "dial_cells"),
            numpy_helper.from_array(np.array(SIDE_MULTIPLE, dtype=np.int64), "dial_multiple"),
        ]
    )
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, height, width])
    sparsity = helper.make_tensor_value_info("sparsity", TensorProto.FLOAT, [])
    graph.ClearField("input")
    graph.input.extend([image, sparsity])


def check_resolution(
    model: onnx.ModelProto, dial: ResolutionDial, sparsities: tuple[float, ...], tolerance: float
) -> float:
    """The largest difference of a descriptor value between torch and `model`.

    Two images, alone and as a batch, at each of `sparsities`. Raises ModelError above
    `tolerance`.
    """
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    images = sample_images(shape[2], shape[3])
    session = session_of(model)
    worst = 0.0
    for sparsity in sparsities:
        feed = {"sparsity": np.array(sparsity, dtype=np.float32)}
        for batch in (images[:1], images[1:], images):
            with torch.no_grad():
                expected = dial(batch, torch.tensor(sparsity)).numpy()
            (found,) = session.run(["descriptor"], {"image": batch.numpy(), **feed})
            difference = float(np.abs(found - expected).max())
            if not difference <= tolerance:  # NaN must fail too
                raise ModelError(
                    f"At sparsity {sparsity:g} onnxruntime and torch differ by {difference:.2g}, "
                    f"allowed {tolerance:g}. Nothing was written."
                )
            worst = max(worst, difference)
    return worst
