# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The operators of the exported files, compiled: C++ for ONNX Runtime, and how it is built."""
