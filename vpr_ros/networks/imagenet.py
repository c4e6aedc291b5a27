# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Mean and spread of ImageNet's pixels, RGB of [0, 1]; every network here is trained with them."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
