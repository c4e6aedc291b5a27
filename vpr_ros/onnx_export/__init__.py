# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the transformers become ONNX files: packed weights, int8 products, a dial that runs."""
