# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled layers as functions of numpy arrays: no ONNX Runtime between test and code."""

import ctypes
import shutil
from ctypes import c_float, c_int, c_int64, c_void_p
from pathlib import Path

import numpy as np
import pytest

from bench.kernel_faults import FAILING_NEW
from vpr_ros.export.packing import pack_ternary
from vpr_ros.kernels import build

HERE = Path(__file__).resolve().parent


def address(array):
    return None if array is None else array.ctypes.data_as(c_void_p)


def float_array(array):
    return None if array is None else np.ascontiguousarray(array, dtype=np.float32)


class Kernels:
    """Functions of numpy arrays; errors of the library are ValueErrors."""

    def __init__(self, path, test_path):
        self.path = path  # the library as users have it
        self.test_path = test_path  # the same with c_api.cpp and failing_new.cpp
        self.library = ctypes.CDLL(str(test_path))
        self.library.vpr_test_isas.restype = ctypes.c_char_p
        self.isas = self.library.vpr_test_isas().decode().split()

    def call(self, function, *arguments):
        function = getattr(self.library, function)
        function.restype = ctypes.c_char_p
        message = function(*arguments)
        if message is not None:
            raise ValueError(message.decode())

    def nested(
        self, codes, rank, x, delta, sparsity, isa, threads=1, bias=None, gelu=False,
        residual=None, output_delta=None, slim=False,
    ):  # fmt: skip
        """y for weights codes (K, N), ranks (K,) and x (rows, K)."""
        inputs, outputs = codes.shape
        padded = np.zeros((inputs, -(-outputs // 4) * 4), dtype=np.int8)
        padded[:, :outputs] = codes
        packed, rank = pack_ternary(padded), np.ascontiguousarray(rank, dtype=np.int64)
        x, bias, residual = float_array(x), float_array(bias), float_array(residual)
        output_delta = float_array(output_delta)
        y = np.full((len(x), outputs), 7e7, dtype=np.float32)
        self.call(
            "vpr_test_nested", isa.encode(), address(packed), c_int64(inputs), c_int64(outputs),
            address(rank), c_int(slim), address(x), c_int64(len(x)), c_float(delta),
            address(output_delta), c_float(sparsity), address(bias), c_int(gelu),
            address(residual), address(y), c_int(threads),
        )  # fmt: skip
        return y

    def int8(self, weight, scale, x, isa, threads=1, bias=None, gelu=False, residual=None):
        """y for int8 weights (K, N) and x (rows, K)."""
        weight, scale = np.ascontiguousarray(weight, dtype=np.int8), float_array(scale)
        x, bias, residual = float_array(x), float_array(bias), float_array(residual)
        y = np.full((len(x), weight.shape[1]), 7e7, dtype=np.float32)
        self.call(
            "vpr_test_int8", isa.encode(), address(weight), address(scale),
            c_int64(weight.shape[0]), c_int64(weight.shape[1]), address(x), c_int64(len(x)),
            address(bias), c_int(gelu), address(residual), address(y), c_int(threads),
        )  # fmt: skip
        return y

    def attention(self, q, k, v, heads, isa, threads=1):
        """y for q (B, Nq, C), k and v (B, Nk, C), which may be columns of one wider array."""
        batch, queries, channels = q.shape
        assert k.strides == v.strides
        y = np.full((batch, queries, channels), 7e7, dtype=np.float32)
        self.call(
            "vpr_test_attention", isa.encode(), c_int64(batch), c_int64(queries),
            c_int64(k.shape[1]), c_int64(heads), c_int64(channels // heads), address(q),
            c_int64(q.strides[1] // 4), address(k), address(v), c_int64(k.strides[1] // 4),
            address(y), c_int(threads),
        )  # fmt: skip
        return y


@pytest.fixture(scope="session")
def kernels():
    if not any(map(shutil.which, build.COMPILERS)):
        pytest.skip("no C++ compiler")
    folder = HERE.parents[1] / "build" / "test_kernels"
    return Kernels(build.build(), build.build(folder, [HERE / "c_api.cpp", FAILING_NEW]))
