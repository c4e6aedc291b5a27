# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a network becomes an ONNX file: trace, dial, small weights, contract, check, write.

python -m vpr_ros.export mobilenetv2-gem --output models/mobilenetv2-gem.onnx
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vpr_ros.core.contract import Calibration, Contract
from vpr_ros.core.errors import ModelError, VprError
from vpr_ros.networks.mobilenet_v2 import DESCRIPTOR_SIZE, GEM_P, load_imagenet_model
from vpr_ros.networks.resolution_dial import SIDE_MULTIPLE, ResolutionDial

OPSET = 18  # the first whose Resize antialiases; onnxruntime 1.19 and newer run it
HALF_MINIMUM = 2048  # values; smaller tensors are not worth a Cast
# Largest difference of one value of a unit descriptor from torch, before and after `store_half`.
TOLERANCE = 1e-5
TOLERANCE_HALF = 2e-3
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Sparsity, score, margin: from `python -m bench.retrieval ... --thresholds`, see the model card.
MOBILENETV2_GEM_CALIBRATION = (
    Calibration(0.0, 0.90, 0.0),
    Calibration(0.2, 0.88, 0.0),
    Calibration(0.4, 0.88, 0.0),
    Calibration(0.6, 0.88, 0.0),
    Calibration(0.75, 0.84, 0.0),
)


@dataclasses.dataclass(frozen=True)
class Exportable:
    """A network ready to export: `network(image, sparsity)`, or `network(image)` without dial."""

    network: nn.Module
    contract: Contract


def mobilenetv2_gem(
    weights: Path | None = None, height: int = 272, width: int = 368, p: float = GEM_P
) -> Exportable:
    """The default model; `models/mobilenetv2-gem.md` has its measurements.

    `weights` is torchvision's file (default: the installed one), `height` and `width` the input
    in px, `p` the exponent of GeM.
    """
    contract = Contract(
        name="mobilenetv2-gem",
        version="1",
        input_height=height,
        input_width=width,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        descriptor_size=DESCRIPTOR_SIZE,
        sparsity_max=0.75,
        dial="resolution",
        tile="",
        calibration=MOBILENETV2_GEM_CALIBRATION,
        training_data="ImageNet-1k classification (torchvision mobilenet_v2-b0353104); "
        "not trained for place recognition",
        licence="BSD-3-Clause (torchvision's weights); trained on ImageNet, whose terms apply",
    )
    return Exportable(ResolutionDial(load_imagenet_model(weights, p)).eval(), contract)


EXPORTS: dict[str, Callable[..., Exportable]] = {"mobilenetv2-gem": mobilenetv2_gem}


def export(item: Exportable, path: Path) -> float:
    """Write `item` to `path` and return the largest difference from torch that was found.

    Raises ModelError, and leaves an older file alone, if onnxruntime does not agree with torch.
    """
    if isinstance(item.network, ResolutionDial):
        model = trace(item.network.network, item.contract, free_size=True)
        add_resolution_dial(model, item.contract)
    else:
        model = trace(item.network, item.contract)
    temporary = path.with_name(path.name + ".tmp")
    try:
        write_onnx(model, item.contract, temporary)
        check_export(item, temporary, TOLERANCE)
        store_half(model)
        write_onnx(model, item.contract, temporary)
        difference = check_export(item, temporary, TOLERANCE_HALF)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def trace(network: nn.Module, contract: Contract, free_size: bool = False) -> onnx.ModelProto:
    """The network as an ONNX graph, batch norms folded, batch size free.

    `free_size` leaves the image's sides free as well. A contract with a dial of its own gets the
    second input `sparsity`, unless the size is the dial.
    """
    image = torch.zeros(2, 3, contract.input_height, contract.input_width)
    inputs: tuple[torch.Tensor, ...] = (image,)
    names = ["image"]
    if contract.sparsity_max > 0 and not free_size:
        inputs, names = (image, torch.tensor(0.0)), ["image", "sparsity"]
    axes = {0: "batch", 2: "height", 3: "width"} if free_size else {0: "batch"}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter needs one more package and writes the same graph for these networks.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            inputs,
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=["descriptor"],
            dynamic_axes={"image": axes, "descriptor": {0: "batch"}},
        )
    return onnx.load_from_string(buffer.getvalue())


def add_resolution_dial(model: onnx.ModelProto, contract: Contract) -> None:
    """Put the Resize of `ResolutionDial` in front of a graph whose image has free sides.

    onnxruntime skips a Resize to the same size, so that s = 0 costs nothing.
    """
    sides = np.array([contract.input_height, contract.input_width], dtype=np.float32)
    if (sides % SIDE_MULTIPLE).any():
        raise ModelError(
            f"Input {contract.input_height}x{contract.input_width} has a side that is no multiple "
            f"of {SIDE_MULTIPLE} px; sparsity 0 would not be dense. Choose another input size."
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
    _prepend(graph, front)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(1.0, dtype=np.float32), "dial_one"),
            numpy_helper.from_array(sides / SIDE_MULTIPLE, "dial_cells"),
            numpy_helper.from_array(np.array(SIDE_MULTIPLE, dtype=np.int64), "dial_multiple"),
        ]
    )
    shape = ["batch", 3, contract.input_height, contract.input_width]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    sparsity = helper.make_tensor_value_info("sparsity", TensorProto.FLOAT, [])
    graph.ClearField("input")
    graph.input.extend([image, sparsity])


def store_half(model: onnx.ModelProto) -> None:
    """Store large float32 weights in half precision, expanded where the model is loaded.

    onnxruntime folds the Casts into float32 constants at load: half the file, the same speed.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < HALF_MINIMUM:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    _prepend(graph, casts)


def write_onnx(model: onnx.ModelProto, contract: Contract, path: Path) -> None:
    """Attach the contract as metadata, check the graph's form and write it to `path`."""
    helper.set_model_props(model, contract.to_metadata())
    descriptor = helper.make_tensor_value_info(
        "descriptor", TensorProto.FLOAT, ["batch", contract.descriptor_size]
    )
    model.graph.output[0].CopyFrom(descriptor)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def check_export(item: Exportable, path: Path, tolerance: float) -> float:
    """The largest difference of a descriptor value between torch and the file at `path`.

    Two images, alone and as a batch, at three sparsities from 0 to the largest. Raises ModelError
    above `tolerance`, or if the file's contract is not the one given.
    """
    contract = item.contract
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    read = Contract.from_metadata(session.get_modelmeta().custom_metadata_map, str(path))
    if read.to_metadata() != contract.to_metadata():
        raise ModelError(f"{path}: the contract read back is not the one written.")
    dial = contract.sparsity_max > 0
    images = check_images(contract)
    worst = 0.0
    for sparsity in (0.0, contract.sparsity_max / 2, contract.sparsity_max) if dial else (0.0,):
        setting = (torch.tensor(sparsity),) if dial else ()
        feed = {"sparsity": np.array(sparsity, dtype=np.float32)} if dial else {}
        for batch in (images[:1], images[1:], images):
            with torch.no_grad():
                expected = item.network(torch.from_numpy(batch), *setting).numpy()
            (found,) = session.run(["descriptor"], {"image": batch, **feed})
            difference = float(np.abs(found - expected).max())
            if not difference <= tolerance:  # NaN must fail too
                raise ModelError(
                    f"Model '{contract.name}' at sparsity {sparsity:g}: onnxruntime and torch "
                    f"differ by {difference:.2g}, allowed {tolerance:g}. Nothing was written."
                )
            worst = max(worst, difference)
    return worst


def check_images(contract: Contract) -> npt.NDArray[np.float32]:
    """Two normalised images (2, 3, H, W) with structure at all scales, the same every time."""
    random = np.random.default_rng(0)
    size = (contract.input_height, contract.input_width)
    images = torch.zeros(2, 3, *size)
    for cells in (2, 8, 32, 128):
        noise = torch.from_numpy(random.standard_normal((2, 3, cells, cells), dtype=np.float32))
        images += nn.functional.interpolate(noise, size, mode="bilinear")
    pixels: npt.NDArray[np.float32] = images.numpy()
    return pixels


def _prepend(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    body = list(graph.node)
    graph.ClearField("node")
    graph.node.extend([*nodes, *body])


def main(arguments: list[str] | None = None) -> int:
    """Export the model named on the command line; 0 if it was written."""
    parser = argparse.ArgumentParser(prog="python -m vpr_ros.export", description=__doc__)
    parser.add_argument("model", choices=sorted(EXPORTS))
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--weights", type=Path, help="weights file; default: the installed one")
    options = parser.parse_args(arguments)
    try:
        difference = export(EXPORTS[options.model](options.weights), options.output)
    except VprError as error:
        print(error, file=sys.stderr)
        return 1
    size_mb = options.output.stat().st_size / 1e6
    print(f"{options.output}: {size_mb:.1f} MB, differs from torch by at most {difference:.1g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
