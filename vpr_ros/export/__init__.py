# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a network becomes one ONNX file that describes itself and computes what torch computes."""
