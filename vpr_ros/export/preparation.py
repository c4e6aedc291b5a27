# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a network expects of the pixels: from its first nodes, or by trying."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from vpr_ros.networks import MEAN, STD

Array = npt.NDArray[Any]
Triple = tuple[float, float, float]

PASSED = ("Cast", "Identity", "Transpose", "Resize")  # on the way to the normalisation
ARITHMETIC = ("Add", "Sub", "Mul", "Div")
CLEARLY = 1.5  # times better than ImageNet's preparation, another is taken


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What the network expects of the pixels: (value in [0, 1] - mean) / std."""

    words: str
    mean: Triple
    std: Triple


IMAGENET = Preparation("ImageNet's mean and deviation", MEAN, STD)
UNIT = Preparation("values from 0 to 1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SIGNED = Preparation("values from -1 to 1", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BYTES = Preparation("values from 0 to 255", (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
USUAL = (IMAGENET, UNIT, SIGNED, BYTES)


def separation(first: Array, second: Array) -> float:
    """By how many standard deviations views of one place are more alike than views of two.

    Unit descriptors (P, D) of two views of P places each.
    """
    cosines = first @ second.T
    same = np.diag(cosines)
    others = cosines[~np.eye(len(first), dtype=bool)]
    return float(
        (same.mean() - others.mean()) / max(np.sqrt((same.var() + others.var()) / 2), 1e-6)
    )


def first_arithmetic(graph: onnx.GraphProto, name: str) -> tuple[float, float] | None:
    """(gain, offset) of the constants that the image meets first, mean of the colours.

    None if a layer with weights comes first.
    """
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer if _few(t)}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    gain, offset, found = 1.0, 0.0, False
    while True:
        readers = [node for node in graph.node if name in node.input]
        if len(readers) != 1:
            break
        (node,) = readers
        other = next((n for n in node.input if n != name), "")
        if node.op_type in ARITHMETIC and other in constants and constants[other].size in (1, 3):
            value = float(constants[other].mean())
            if node.op_type in ("Mul", "Div"):
                factor = value if node.op_type == "Mul" else 1 / value
                gain, offset = gain * factor, offset * factor
            else:
                offset += value if node.op_type == "Add" else -value
            found = True
        elif node.op_type not in PASSED:
            break
        name = node.output[0]
    return (gain, offset) if found else None


def _few(tensor: onnx.TensorProto) -> bool:
    return math.prod(tensor.dims) in (1, 3)


def expected(gain: float, offset: float) -> Preparation:
    """Bytes if the constants would move values of [0, 1] out of their range, or hardly at all."""
    centre = -offset / gain if gain else 0.0
    return BYTES if abs(gain) < 0.1 or centre > 1.5 else UNIT
