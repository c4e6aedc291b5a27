# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled operators of exported files: C++ for ONNX Runtime, and its build."""
