# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ternary weights at two bits each and, in the file, at five to a byte."""

from __future__ import annotations

import math

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
    """The four codes of every byte value, (256, 4)."""
    byte = np.arange(256, dtype=np.int64)[:, None]
    fields = (byte >> (2 * np.arange(PER_BYTE))) & 3
    return (fields - 1).astype(np.int8)


def unpack_ternary(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Bytes (K, N / 4) back to codes (K, N)."""
    return unpacking_table()[packed].reshape(len(packed), -1)


def squeeze(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Packed bytes (K, N / 4) at five codes to a byte, (4, G): lossless and a fifth smaller.

    Possible because 3 ** 5 = 243 fits into a byte. The array is cut into five planes of G bytes;
    byte g of all five planes holds 20 codes, and so does byte g of the four rows returned.
    """
    planes = np.zeros((5, -(-packed.size // 5)), dtype=np.uint8)
    planes.reshape(-1)[: packed.size] = packed.reshape(-1)
    shifts = (2 * np.arange(PER_BYTE, dtype=np.uint8))[None, :, None]
    digits = ((planes[:, None] >> shifts) & 3).reshape(4, 5, -1)
    weights = (3 ** np.arange(5, dtype=np.uint8))[None, :, None]
    squeezed: npt.NDArray[np.uint8] = (digits * weights).sum(axis=1, dtype=np.uint8)
    return squeezed


def unsqueeze(squeezed: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Squeezed bytes (4, G) back to packed ones of `shape`."""
    digits = squeezed[:, None] // (3 ** np.arange(5, dtype=np.uint8))[None, :, None] % 3
    shifts = (2 * np.arange(PER_BYTE, dtype=np.uint8))[None, :, None]
    planes = (digits.reshape(5, PER_BYTE, -1) << shifts).sum(axis=1, dtype=np.uint8)
    packed: npt.NDArray[np.uint8] = planes.reshape(-1)[: math.prod(shape)].reshape(shape)
    return packed


def repacking_tables() -> dict[tuple[int, int], npt.NDArray[np.uint8]]:
    """(row, plane) -> what each byte value of a squeezed row contributes to that plane's byte.

    A plane's byte is the sum of its parts. Each row contributes to two planes.
    """
    byte = np.arange(256)
    tables: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}
    for code in range(20):
        row, digit = divmod(code, 5)
        plane, field = divmod(code, PER_BYTE)
        part = tables.setdefault((row, plane), np.zeros(256, dtype=np.uint8))
        part |= (byte // 3**digit % 3 << (2 * field)).astype(np.uint8)
    return tables
