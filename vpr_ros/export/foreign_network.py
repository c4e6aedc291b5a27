# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A network of somebody else, an image in and a vector out, as a model with a contract.

What the file does not say is found by running it: `vpr adopt`, docs/own_network.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import TensorProto, compose, external_data_helper, helper, numpy_helper

from vpr_ros.core.contract import Contract
from vpr_ros.core.errors import ModelError
from vpr_ros.core.images import Image, normalised, resized
from vpr_ros.export.onnx_file import names_read, put_in_front
from vpr_ros.export.preparation import (
    BYTES,
    CLEARLY,
    IMAGENET,
    UNIT,
    USUAL,
    Array,
    Preparation,
    Triple,
    expected,
    first_arithmetic,
    separation,
)

SIZES = (322, 320, 224, 256)  # px, tried in this order if free; 322: DINOv2's 23 * 14
LARGEST_FILE = 2_000_000_000  # bytes; protobuf holds 2 GiB
TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}
UNKNOWN = "unknown, its file does not say"
CONSTANT = 0.9999  # cosine that any two images reach if the network does not look at them


Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Given:
    """What the user knows about the network; empty: not known."""

    name: str = ""
    output: str = ""
    size: Size | None = None  # height, width [px]
    mean: Triple | None = None  # RGB, of [0, 1]
    std: Triple | None = None
    training_data: str = ""
    licence: str = ""


def read_foreign(
    path: Path, model: onnx.ModelProto, given: Given, pairs: Sequence[tuple[Image, Image]]
) -> tuple[onnx.ModelProto, Contract, str]:
    """(the model as vpr_ros runs it, its contract without thresholds, what was found, in words).

    `model` is that of `load_model(path)`; `pairs` are views of one place each, of different
    places. Raises ModelError, which says what is wrong with the file or what must be given.
    """
    network = _Network(path, model, given)
    preparation, why = network.preparation(pairs)
    descriptors = np.concatenate(network.describe(pairs, preparation))
    if not descriptors.any(axis=1).all():
        raise ModelError(f"{path} gives nothing but zeros; give --mean and --std.")
    alike = float((descriptors @ descriptors.T).min())
    if not alike < CONSTANT:  # NaN must fail too
        raise ModelError(
            f"{path} gives the same vector for every image (cosine at least {alike:.5f}); it is "
            "not trained, or expects other pixels: give --mean and --std."
        )
    height, width = network.size
    contract = Contract(
        name=given.name or path.stem,
        version="1",
        input_height=height,
        input_width=width,
        mean=preparation.mean,
        std=preparation.std,
        descriptor_size=descriptors.shape[1],
        sparsity_max=0.0,
        dial="none",
        tile="",
        calibration=(),
        training_data=given.training_data or UNKNOWN,
        licence=given.licence or UNKNOWN,
    )
    words = (
        f"input '{network.input}', {network.layout}, {np.dtype(network.type).name}, "
        f"{height}x{width} px; {preparation.words} ({why}); output '{network.output}', "
        f"{descriptors.shape[1]} values, "
        f"{'of unit length' if network.unit else 'now divided by their length'}"
    )
    return network.wrapped(descriptors.shape[1]), contract, words


class _Network:
    """The file, and how an image gets into it."""

    def __init__(self, path: Path, model: onnx.ModelProto, given: Given) -> None:
        self.path = path
        self._given = given
        self._model = model
        self._find_input()
        self._find_output()
        self._session = self._open()
        self._find_size()

    def _find_input(self) -> None:
        graph = self._model.graph
        constants = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        if len(inputs) != 1:
            names = ", ".join(value.name for value in inputs) or "none"
            raise ModelError(
                f"{self.path} has {len(inputs)} inputs ({names}); one image is needed. Export "
                "the network so that the others are constants."
            )
        self.input, kind = inputs[0].name, inputs[0].type.tensor_type
        if kind.elem_type not in TYPES:
            raise ModelError(
                f"{self.path}: input '{self.input}' is of type "
                f"{TensorProto.DataType.Name(kind.elem_type).lower()}; export it with float, "
                "float16 or uint8."
            )
        self.type = TYPES[kind.elem_type]
        if not kind.HasField("shape") or len(kind.shape.dim) != 4:
            rank = f"rank {len(kind.shape.dim)}" if kind.HasField("shape") else "a dynamic rank"
            raise ModelError(
                f"{self.path}: input '{self.input}' has {rank}; export it for images of rank 4, "
                "N x 3 x H x W or N x H x W x 3."
            )
        batch, *sides = (d.dim_value for d in kind.shape.dim)  # 0: free
        self.batch = batch
        if batch > 1:
            raise ModelError(
                f"{self.path} takes {batch} images at once; export it with a batch of 1, or free."
            )
        if sides[0] in (0, 3) and not (sides[0] == 0 and sides[2] == 3):
            self.layout, (self._height, self._width) = "N x 3 x H x W", sides[1:]
        elif sides[2] == 3:
            self.layout, (self._height, self._width) = "N x H x W x 3", sides[:2]
        else:
            raise ModelError(
                f"{self.path}: input '{self.input}' is {' x '.join(map(str, (batch, *sides)))} "
                "without three colours; export it for RGB images."
            )

    def _find_output(self) -> None:
        names = [value.name for value in self._model.graph.output]
        wanted = self._given.output
        if wanted and wanted not in names:
            raise ModelError(f"{self.path} has no output '{wanted}', but {', '.join(names)}.")
        if not wanted and len(names) != 1:
            raise ModelError(
                f"{self.path} has {len(names)} outputs; give the descriptor's with --output: "
                f"{', '.join(names)}."
            )
        self.output = wanted or names[0]
        _keep(self._model.graph, self.output)

    def _open(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            return ort.InferenceSession(
                self._model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated types here
            raise ModelError(
                f"{self.path} does not run on onnxruntime {ort.__version__} "
                f"({_first_line(error)}). Export it with operators of ONNX's opset 18 or lower."
            ) from None

    def _find_size(self) -> None:
        """Both sides, as fixed in the file, as given, or the first of the usual ones that runs."""
        given, fixed = self._given.size, (self._height, self._width)
        if given and any(
            side and side != wanted for side, wanted in zip(fixed, given, strict=True)
        ):
            raise ModelError(
                f"{self.path} takes images of {_side(fixed[0])}x{_side(fixed[1])} px (height x "
                f"width), not {given[0]}x{given[1]}. Leave --size out, or export it again."
            )
        sizes = [given] if given else [(fixed[0] or s, fixed[1] or s) for s in SIZES]
        error: Exception | None = None
        for self.size in dict.fromkeys(sizes):
            try:
                self._run(np.full((8, 8, 3), 128, np.uint8), UNIT)
                return
            except ModelError:
                raise
            except Exception as failure:  # as above
                error = error or failure
        raise ModelError(
            f"{self.path} cannot run on images of {sizes[0][0]}x{sizes[0][1]} px (height x width; "
            f"{_first_line(error)}). Give --size, or export it again."
        )

    def _run(self, image: Image, preparation: Preparation) -> Array:
        """The vector (D,) of an image, as the network gives it."""
        pixels = normalised(resized(image, *self.size), preparation.mean, preparation.std)
        if self.type is np.uint8:
            pixels = np.rint(pixels)
        if self.layout == "N x H x W x 3":
            pixels = pixels.transpose(1, 2, 0)
        (found,) = self._session.run([self.output], {self.input: pixels[None].astype(self.type)})
        values: Array = np.asarray(found, np.float32)
        if values.size < 2 or values.size != max(values.shape, default=0):
            raise ModelError(
                f"{self.path}: output '{self.output}' is {' x '.join(map(str, values.shape))} for "
                "one image, not one vector. Export the network with its pooling."
            )
        if not np.isfinite(values).all():
            raise ModelError(f"{self.path} gives values that are not finite.")
        return values.reshape(-1)

    def describe(
        self, pairs: Sequence[tuple[Image, Image]], preparation: Preparation
    ) -> tuple[Array, Array]:
        """Unit descriptors (P, D) of the first and of the second views."""
        found = [
            np.stack([self._run(one, preparation) for one in side])
            for side in zip(*pairs, strict=True)
        ]
        lengths = [np.linalg.norm(side, axis=1, keepdims=True) for side in found]
        self.unit = all(bool((abs(length - 1) < 1e-3).all()) for length in lengths)
        first, second = (v / np.maximum(n, 1e-12) for v, n in zip(found, lengths, strict=True))
        return first, second

    def preparation(self, pairs: Sequence[tuple[Image, Image]]) -> tuple[Preparation, str]:
        """What is done to the pixels, and how that is known."""
        mean, std = self._given.mean, self._given.std
        if mean or std:
            return Preparation("mean and deviation", mean or UNIT.mean, std or UNIT.std), "given"
        if self.type is np.uint8:
            return BYTES, "its input has bytes"
        first = first_arithmetic(self._model.graph, self.input)
        if first is not None:
            return expected(*first), "it normalises them itself"
        apart = {p: separation(*self.describe(pairs, p)) for p in USUAL}
        best = max(USUAL, key=lambda p: apart[p])
        chosen = best if apart[best] > CLEARLY * max(apart[IMAGENET], 0.0) else IMAGENET
        tried = ", ".join(f"{p.words} {apart[p]:.2f}" for p in USUAL)
        return chosen, f"tells places apart by {apart[chosen]:.2f} deviations; {tried}"

    def wrapped(self, descriptor_size: int) -> onnx.ModelProto:
        """The model from `image` to `descriptor`, as a Contract describes them."""
        model = compose.add_prefix(self._model, "network/", rename_functions=False)
        graph = model.graph
        front: list[tuple[str, dict[str, Any]]] = []
        if self.type is np.uint8:
            front = [("Round", {}), ("Cast", {"to": TensorProto.UINT8})]
        elif self.type is np.float16:
            front = [("Cast", {"to": TensorProto.FLOAT16})]
        if self.layout == "N x H x W x 3":
            front.append(("Transpose", {"perm": [0, 2, 3, 1]}))
        front = front or [("Identity", {})]
        back: list[tuple[str, dict[str, Any]]] = [("Cast", {"to": TensorProto.FLOAT})]
        back += [("Reshape", {})] + (
            [] if self.unit else [("LpNormalization", {"axis": 1, "p": 2})]
        )
        shape = numpy_helper.from_array(np.array([-1, descriptor_size], np.int64), "vpr_shape")
        graph.initializer.append(shape)
        put_in_front(graph, _chain(front, "image", f"network/{self.input}", "vpr_in"))
        graph.node.extend(_chain(back, f"network/{self.output}", "descriptor", "vpr_out"))
        graph.ClearField("input")
        sides: list[str | int | None] = [self.batch or "batch", 3, *self.size]
        graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, sides))
        graph.ClearField("output")
        vector: list[str | int | None] = ["batch", descriptor_size]
        graph.output.append(helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, vector))
        return model


def _chain(
    steps: Sequence[tuple[str, dict[str, Any]]], start: str, end: str, prefix: str
) -> list[onnx.NodeProto]:
    """Nodes one after another, from the tensor `start` to the tensor `end`."""
    nodes = []
    for number, (kind, attributes) in enumerate(steps, start=1):
        target = end if number == len(steps) else f"{prefix}_{number}"
        inputs = [start, "vpr_shape"] if kind == "Reshape" else [start]
        nodes.append(helper.make_node(kind, inputs, [target], f"{prefix}_{kind}", **attributes))
        start = target
    return nodes


def load_model(path: Path) -> onnx.ModelProto:
    """The model with its weights; those in other files must lie in its folder."""
    if not path.is_file():
        raise ModelError(f"Model file {path} does not exist. Give the path of an .onnx file.")
    if path.stat().st_size > LARGEST_FILE:
        raise ModelError(f"{path} is larger than 2 GB, which one ONNX file cannot be.")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(f"{path} is not an ONNX file ({error}). Export the network.") from None
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX file, or is empty. Export the network.")
    folder, size = path.parent.resolve(), path.stat().st_size
    for tensor in model.graph.initializer:
        where = {entry.key: entry.value for entry in tensor.external_data}.get("location")
        if where is None:
            continue
        file = (folder / where).resolve()
        if folder not in file.parents or not file.is_file():
            raise ModelError(
                f"{path} has weights in {where}, which is not a file in its folder. Put both into "
                "one folder."
            )
        size += math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if size > LARGEST_FILE:
        raise ModelError(
            f"{path} has {size / 1e9:.1f} GB of weights; one ONNX file holds 2 GB. Export it in "
            "half precision."
        )
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except Exception as error:  # the helper raises OSError, ValueError, the checker's errors
        raise ModelError(f"The weights of {path} cannot be read ({_first_line(error)}).") from None
    return model


def _keep(graph: onnx.GraphProto, output: str) -> None:
    """Remove what the output does not depend on."""
    needed, kept = {output}, []
    for node in reversed(graph.node):  # every node stands behind those that it reads
        if needed & set(node.output):
            kept.append(node)
            needed |= names_read([node])
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    outputs = [value for value in graph.output if value.name == output]
    for field, values in (("node", kept[::-1]), ("initializer", weights), ("output", outputs)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)


def _side(value: int) -> str:
    return str(value) if value else "any"


def _first_line(error: Exception | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
