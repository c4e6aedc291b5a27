# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The names of the exported file's own operators; the compiled library knows the same."""

DOMAIN = "vpr_ros"
SPARSE = "SparseTernaryLinear"
NESTED = "NestedTernaryLinear"
SLIM = "SlimTernaryLinear"  # nested, and of its outputs only those that the next layer keeps
INT8 = "Int8Linear"
TERNARY = (SPARSE, NESTED, SLIM)
LINEAR = (*TERNARY, INT8)
# What may follow the product, as the end of a linear operator's name: bias (N), then GELU, or the
# addition of `residual` (B, M, N).
EPILOGUES = ("", "Bias", "BiasGelu", "BiasAdd")
