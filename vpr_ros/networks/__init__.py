# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The networks in torch, which become ONNX files; nothing on the robot needs torch."""

# Mean and standard deviation of ImageNet's pixels, RGB of [0, 1]: what every network here expects
# an image to be normalised with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
