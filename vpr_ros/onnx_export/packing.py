# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ternary weights at two bits each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vpr_ros.core.errors import ModelError

PER_BYTE = 4


def pack_ternary(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Codes in {-1, 0, 1} (K, N) as bytes (K, N / 4): code + 1 of output n at bit 2 (n mod 4)."""
    inputs, outputs = codes.shape
    if outputs % PER_BYTE:
        raise ModelError(
            f"A ternary layer has {outputs} outputs; packing needs a multiple of {PER_BYTE}."
        )
    fields = (codes + 1).astype(np.uint8).reshape(inputs, outputs // PER_BYTE, PER_BYTE)
    packed = np.zeros(fields.shape[:2], dtype=np.uint8)
    for i in range(PER_BYTE):
        packed |= fields[:, :, i] << (2 * i)
    return packed


def unpacking_table() -> npt.NDArray[np.int8]:
    """The four codes of every possible byte, (256, 4)."""
    byte = np.arange(256, dtype=np.int64)[:, None]
    fields = (byte >> (2 * np.arange(PER_BYTE))) & 3
    return (fields - 1).astype(np.int8)


def unpack_ternary(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Bytes (K, N / 4) back to codes (K, N)."""
    return unpacking_table()[packed].reshape(len(packed), -1)
