# Copyright 2026 The vpr_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Position embeddings for any grid of patches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vpr_ros.core.errors import ConfigError


def patch_grid(height: int, width: int, patch: int) -> tuple[int, int]:
    """How many patches of `patch` px stand in an image; ConfigError if they do not fit."""
    height, width = int(height), int(width)  # tensors while a network is traced
    if height % patch or width % patch or not (height and width):
        raise ConfigError(
            f"Image is {height}x{width} px; give sides that are multiples of the patch, {patch}."
        )
    return height // patch, width // patch


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings (1, 1 + G * G, C) for another grid, (1, 1 + H * W, C).

    The class token's stays; the patches' are resized bicubically (a = -0.75, pixel centres
    aligned, no antialiasing) to exactly `grid`. That is how the released register-free DINOv2
    was trained at its second resolution and evaluated; antialiasing belongs to its later
    variants with registers. The original code passes scale factors with an offset of 0.1 against
    rounding; giving the size itself needs none and samples within 0.3 % of a patch of it.
    """
    class_position, patches = positions[:, :1], positions[:, 1:]
    side = round(int(patches.shape[1]) ** 0.5)
    if grid == (side, side):
        return positions
    plane = patches.transpose(1, 2).unflatten(2, (side, side)).float()  # (1, C, G, G)
    resized = F.interpolate(plane, size=grid, mode="bicubic", align_corners=False)
    resized = resized.flatten(2).transpose(1, 2).to(positions.dtype)  # (1, H * W, C)
    return torch.cat([class_position, resized], dim=1)
