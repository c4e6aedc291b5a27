# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which weights a model file holds: descriptors of different weights must never be compared.

The name is not enough: a retrained network often keeps it. The digest covers everything that a
descriptor depends on, the graph with its weights and the preprocessing, and nothing else, so that
a file with other thresholds or another version is still the same model.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.core.errors import ModelError

if TYPE_CHECKING:  # the contract holds calibrations, which name a model
    from vpr_ros.core.contract import Contract

# Field numbers of onnx.proto.
_GRAPH, _OPSETS, _FUNCTIONS = 7, 8, 25  # of a ModelProto
_WEIGHTS = 5  # of a GraphProto: its initialisers
_EXTERNAL_DATA = 13  # of a TensorProto: pairs of key and value
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def model_digest(path: Path, contract: Contract) -> str:
    """32 hexadecimal digits: equal for two files that give the same descriptors.

    Raises ModelError if the file is not an ONNX model, or if a file of external weights is
    missing.
    """
    digest = hashlib.sha256()
    eaten = (contract.input_height, contract.input_width, contract.mean, contract.std)
    digest.update(json.dumps(eaten).encode())
    try:
        with open(path, "rb") as file:
            # Left to be closed when nobody holds a part of it any more.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for number, payload in _fields(memoryview(content)):
            if number in (_GRAPH, _OPSETS, _FUNCTIONS):
                digest.update(bytes([number]) + len(payload).to_bytes(8, "little"))
                digest.update(payload)
            if number == _GRAPH:
                for name in sorted(_external_files(payload)):
                    digest.update((path.parent / name).read_bytes())
    except (ValueError, IndexError, OSError) as error:
        raise ModelError(
            f"The weights of model file {path} cannot be read ({error}). Copy or export it again."
        ) from None
    return digest.hexdigest()[:32]


def same_model(name: str, digest: str, other_name: str, other_digest: str) -> bool:
    """Whether two models give comparable descriptors: by their weights, else by their names."""
    if digest and other_digest:
        return digest == other_digest
    return name == other_name


def model_text(name: str, digest: str) -> str:
    """A model in words, e.g. efficientvpr-s (weights 2e6fa3fd)."""
    return name[:64] + (f" (weights {digest[:8]})" if digest else "")


def _external_files(graph: memoryview) -> set[str]:
    """The files in which weights lie that are not in the model file."""
    return {
        bytes(value).decode()
        for number, tensor in _fields(graph)
        if number == _WEIGHTS
        for inner, entry in _fields(tensor)
        if inner == _EXTERNAL_DATA
        for key, value in [[payload for _, payload in _fields(entry)]]
        if bytes(key) == b"location"
    }


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, content) of a protobuf message; ValueError or IndexError if it is none."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        start = position
        if wire == _VARINT:
            _, position = _varint(message, position)
        elif wire == _BYTES:
            length, start = _varint(message, position)
            position = start + length
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if position > len(message):
            raise ValueError("it ends too early")
        yield number, message[start:position]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """(value, position behind it)."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
