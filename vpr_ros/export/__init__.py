# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turns a network into one ONNX file that describes itself and computes what torch computes."""
