# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the network is: torch modules that become ONNX files; nothing on the robot needs them."""
